//! The processes of the show, and the broker between them.

use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::Duration,
};

use ipc_tests::{broker::Broker, command::process, eventually::within, peer::Peer, proc, scene::held};
use nix::sys::signal::{Signal, kill};

use crate::{caller, clock, harm, work::Troupe};

/// A process of the show.
#[derive(Debug)]
pub(crate) struct Actor {
    part: Part,
    index: u8,
    life: u16,
    /// None between two rounds.
    running: Option<(Child, ChildStdin)>,
}

/// What an actor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Service,
    Caller,
}

/// Everyone.
#[derive(Debug)]
pub(crate) struct Cast {
    pub(crate) broker: Broker,
    pub(crate) services: Vec<Actor>,
    pub(crate) callers: Vec<Actor>,
    pub(crate) chronicle: Chronicle,
    seed: u64,
    rate: u64,
    ledger: PathBuf,
    at_first: Possessions,
}

/// What was done to whom in a round, as far as it explains a delay.
#[derive(Debug, Default)]
pub(crate) struct Chronicle {
    /// When a service was killed, and which.
    pub(crate) kills: Vec<(u64, Troupe)>,
    /// From when until when the broker did not run.
    pub(crate) without_broker: Vec<(u64, u64)>,
    /// From when until when a caller did not run.
    pub(crate) without_caller: Vec<(u8, u64, u64)>,
}

/// What a broker with no peers has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Possessions {
    pub(crate) descriptors: usize,
    pub(crate) resident_kib: u64,
}

impl Cast {
    pub(crate) fn new(seed: u64, rate: u64) -> Self {
        let mut broker = Broker::in_process(harm::GENTLE);
        let at_first = possessions(&mut broker);
        let actors = |part, count: u8| (0..count).map(|index| Actor { part, index, life: 0, running: None }).collect();
        let troupe = u8::try_from(Troupe::PROCESSES.len()).expect("a few");
        let (services, callers) = (actors(Part::Service, troupe), actors(Part::Caller, caller::COUNT));
        let ledger = broker.directory().join("ledger");
        Self { broker, services, callers, chronicle: Chronicle::default(), seed, rate, ledger, at_first }
    }

    pub(crate) fn at_first(&self) -> Possessions {
        self.at_first
    }

    pub(crate) fn ledger(&self) -> &Path {
        &self.ledger
    }

    /// A round begins, with an empty ledger.
    pub(crate) fn enter(&mut self) {
        let _ = std::fs::remove_dir_all(&self.ledger); // there is none before the first round
        std::fs::create_dir(&self.ledger).expect("the directory is our own");
        self.chronicle = Chronicle::default();
        (0..self.services.len()).for_each(|at| self.start(Part::Service, at));
        (0..self.callers.len()).for_each(|at| self.start(Part::Caller, at));
    }

    /// A round ends: callers wait for their ends, then services leave. Tells who did not.
    pub(crate) fn leave(&mut self) -> Vec<String> {
        let callers: Vec<_> = self.callers.iter_mut().filter_map(Actor::bow).collect();
        let late = callers.into_iter().filter_map(|actor| actor.gone_within(PATIENCE));
        let mut troubles: Vec<String> = late.collect();
        let services: Vec<_> = self.services.iter_mut().filter_map(Actor::bow).collect();
        troubles.extend(services.into_iter().filter_map(|actor| actor.gone_within(PATIENCE)));
        troubles.iter_mut().for_each(|trouble| *trouble += &self.said());
        troubles
    }

    /// The next life of an actor.
    pub(crate) fn start(&mut self, part: Part, at: usize) {
        let (seed, rate, socket) = (self.seed, self.rate, self.broker.socket().to_owned());
        let ledger = self.ledger.clone();
        self.actor(part, at).start(&[seed, rate], &socket, &ledger);
    }

    /// Kills an actor, and starts its next life.
    pub(crate) fn kill(&mut self, part: Part, at: usize) {
        if part == Part::Service {
            self.chronicle.kills.push((clock::now(), Troupe::PROCESSES[at]));
        }
        self.actor(part, at).kill();
        self.start(part, at);
    }

    pub(crate) fn signal(&mut self, part: Part, at: usize, signal: Signal) {
        self.actor(part, at).signal(signal);
    }

    /// Those that have ended although nothing was done to them. They are started again.
    pub(crate) fn accidents(&mut self) -> Vec<String> {
        let mut accidents = Vec::new();
        for (part, count) in [(Part::Service, self.services.len()), (Part::Caller, self.callers.len())] {
            for at in 0..count {
                if let Some(status) = self.actor(part, at).ended() {
                    let said = self.said();
                    accidents.push(format!("{} ended by itself: {status}{said}", self.actor(part, at).name()));
                    self.start(part, at);
                }
            }
        }
        let daemon = self.broker.daemon().expect("it is a process");
        if !proc::is_running(daemon.pid()) {
            let code = daemon.exit_code();
            let log = daemon.log();
            let tail = log.get(log.len().saturating_sub(2_000)..).unwrap_or(&log);
            accidents.push(format!("the broker ended by itself with {code}:\n{tail}"));
            self.broker.start_again();
        }
        accidents
    }

    /// What the broker still holds once everyone has left.
    pub(crate) fn left_behind(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        if !within(PATIENCE, || self.broker.socket().exists() && self.broker.datagram_socket().exists()) {
            return vec!["the broker does not open its removed sockets again".to_owned()];
        }
        let mut client = Peer::connect(&self.broker);
        if !within(PATIENCE, || held(&mut client) == [1, 0, 0, 0]) {
            let held = held(&mut client);
            left.push(format!(
                "the broker holds {held:?} connections, names, calls and bytes, instead of [1, 0, 0, 0]"
            ));
        }
        drop(client);
        let at_first = self.at_first;
        let has = |broker: &mut Broker| possessions(broker);
        if !within(PATIENCE, || has(&mut self.broker).descriptors == at_first.descriptors) {
            let now = has(&mut self.broker).descriptors;
            left.push(format!("the broker has {now} descriptors instead of {}", at_first.descriptors));
        }
        let most = at_first.resident_kib + ROOM_KIB;
        if !within(PATIENCE, || has(&mut self.broker).resident_kib <= most) {
            let now = has(&mut self.broker).resident_kib;
            left.push(format!("the broker has {now} KiB resident, {} KiB at its start", at_first.resident_kib));
        }
        left
    }

    pub(crate) fn possessions(&mut self) -> Possessions {
        possessions(&mut self.broker)
    }

    /// What the actors have printed on standard error, which is nothing unless they fail.
    fn said(&self) -> String {
        let said = std::fs::read_to_string(self.ledger.join(ERRORS)).unwrap_or_default();
        if said.is_empty() { said } else { format!("\n{said}") }
    }

    fn actor(&mut self, part: Part, at: usize) -> &mut Actor {
        match part {
            Part::Service => &mut self.services[at],
            Part::Caller => &mut self.callers[at],
        }
    }
}

impl Actor {
    fn start(&mut self, numbers: &[u64; 2], socket: &Path, ledger: &Path) {
        self.life += 1;
        let mut command = Command::new("/proc/self/exe");
        command.arg(match self.part {
            Part::Service => "service",
            Part::Caller => "caller",
        });
        command.args([self.index.to_string(), self.life.to_string()]).args([socket, ledger]);
        command.args(numbers.map(|number| number.to_string()));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(errors(ledger));
        let mut child = command.spawn().expect("this program can be started");
        let stdin = child.stdin.take().expect("it is a pipe");
        self.running = Some((child, stdin));
    }

    fn kill(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            let _ = child.kill(); // it may have ended by itself
            let _ = child.wait();
        }
    }

    fn signal(&mut self, signal: Signal) {
        if let Some((child, _)) = &self.running {
            let _ = kill(process(child.id()), signal); // it is not waited for yet, so its number is its own
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.running.as_mut().and_then(|(child, _)| child.try_wait().ok()?)
    }

    /// Tells it that the round is over.
    fn bow(&mut self) -> Option<Leaving> {
        let name = self.name();
        let (child, stdin) = self.running.take()?;
        drop(stdin);
        Some(Leaving { name, child })
    }

    fn name(&self) -> String {
        format!("{:?} {}.{}", self.part, self.index, self.life)
    }
}

/// An actor that is to end.
struct Leaving {
    name: String,
    child: Child,
}

impl Leaving {
    /// Waits for its end. Tells what is wrong with it.
    fn gone_within(mut self, patience: Duration) -> Option<String> {
        let mut status = None;
        within(patience, || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        let told = match status {
            Some(status) if status.success() => None,
            Some(status) => Some(format!("{} failed: {status}", self.name)),
            None => Some(format!("{} hangs at the end", self.name)),
        };
        let _ = self.child.kill();
        let _ = self.child.wait();
        told
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.kill();
    }
}

fn possessions(broker: &mut Broker) -> Possessions {
    let daemon = broker.daemon().expect("it is a process");
    Possessions { descriptors: daemon.descriptors().len(), resident_kib: proc::resident_kib(daemon.pid()) }
}

fn errors(ledger: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(ledger.join(ERRORS)).expect("the directory is our own")
}

const ERRORS: &str = "errors";
/// How long anything may take once nothing is done to anyone any more.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a broker may keep of the memory that it has used: the most for which the allocator has a use.
const ROOM_KIB: u64 = 8 * 1024;
