//! The callers and services, and the broker between them.

use std::{
    fs::{File, OpenOptions},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::Duration,
};

use ipc_tests::{broker::Broker, command, eventually::within, peer::Peer, proc, scene::held};
use nix::sys::signal::{Signal, kill};
use tempfile::TempDir;

use crate::{caller, clock, harm, work::Kind};

/// A caller or a service.
#[derive(Debug)]
pub(crate) struct Process {
    role: Role,
    index: u8,
    life: u16,
    /// None between two rounds.
    running: Option<(Child, ChildStdin)>,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Service,
    Caller,
}

/// The callers, the services, and the broker between them.
#[derive(Debug)]
pub(crate) struct Processes {
    pub(crate) broker: Broker,
    pub(crate) services: Vec<Process>,
    pub(crate) callers: Vec<Process>,
    pub(crate) history: History,
    seed: u64,
    rate: u64,
    ledger: TempDir,
    at_first: Holdings,
}

/// What was done in a round, as far as it explains a delay.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// When a service was killed, and which.
    pub(crate) kills: Vec<(u64, Kind)>,
    /// How long each of them took to die, in nanoseconds.
    pub(crate) deaths: Vec<u64>,
    /// From when until when this process, which wakes every 2 ms, did not: the machine was busy with others.
    pub(crate) stalls: Vec<(u64, u64)>,
    /// From when until when the broker did not run.
    pub(crate) without_broker: Vec<(u64, u64)>,
    /// From when until when a caller did not run.
    pub(crate) without_caller: Vec<(u8, u64, u64)>,
}

/// What a broker without peers holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holdings {
    pub(crate) descriptors: usize,
    pub(crate) resident_kib: u64,
}

impl Processes {
    pub(crate) fn new(seed: u64, rate: u64) -> Self {
        let mut broker = Broker::in_process(harm::CALM);
        let at_first = holdings(&mut broker);
        let processes_of =
            |role, count: u8| (0..count).map(|index| Process { role, index, life: 0, running: None }).collect();
        let kind = u8::try_from(Kind::PROCESSES.len()).expect("a few");
        let (services, callers) = (processes_of(Role::Service, kind), processes_of(Role::Caller, caller::COUNT));
        Self { broker, services, callers, history: History::default(), seed, rate, ledger: in_memory(), at_first }
    }

    pub(crate) fn at_first(&self) -> Holdings {
        self.at_first
    }

    pub(crate) fn ledger(&self) -> &Path {
        self.ledger.path()
    }

    /// A round begins, with an empty ledger.
    pub(crate) fn start_round(&mut self) {
        self.ledger = in_memory();
        self.history = History::default();
        (0..self.services.len()).for_each(|at| self.start(Role::Service, at));
        (0..self.callers.len()).for_each(|at| self.start(Role::Caller, at));
    }

    /// A round ends: callers wait for their ends, then services leave. Tells who did not.
    pub(crate) fn end_round(&mut self) -> Vec<String> {
        let callers: Vec<_> = self.callers.iter_mut().filter_map(Process::end_input).collect();
        let late = callers.into_iter().filter_map(|process| process.gone_within(PATIENCE));
        let mut troubles: Vec<String> = late.collect();
        let services: Vec<_> = self.services.iter_mut().filter_map(Process::end_input).collect();
        troubles.extend(services.into_iter().filter_map(|process| process.gone_within(PATIENCE)));
        troubles.iter_mut().for_each(|trouble| *trouble += &self.printed());
        troubles
    }

    /// The next life of a process.
    pub(crate) fn start(&mut self, role: Role, at: usize) {
        let (seed, rate, socket) = (self.seed, self.rate, self.broker.socket().to_owned());
        let ledger = self.ledger.path().to_owned();
        self.process(role, at).start(&[seed, rate], &socket, &ledger);
    }

    /// Kills a process, and starts its next life.
    pub(crate) fn kill(&mut self, role: Role, at: usize) {
        let killed = clock::now();
        self.process(role, at).kill();
        if role == Role::Service {
            self.history.kills.push((killed, Kind::PROCESSES[at]));
            self.history.deaths.push(clock::now() - killed);
        }
        self.start(role, at);
    }

    pub(crate) fn signal(&mut self, role: Role, at: usize, signal: Signal) {
        self.process(role, at).signal(signal);
    }

    /// Those that have ended although nothing was done to them. They are started again.
    pub(crate) fn accidents(&mut self) -> Vec<String> {
        let mut accidents = Vec::new();
        for (role, count) in [(Role::Service, self.services.len()), (Role::Caller, self.callers.len())] {
            for at in 0..count {
                if let Some(status) = self.process(role, at).ended() {
                    let printed = self.printed();
                    accidents.push(format!("{} ended by itself: {status}{printed}", self.process(role, at).name()));
                    self.start(role, at);
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
        let has = |broker: &mut Broker| holdings(broker);
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

    pub(crate) fn holdings(&mut self) -> Holdings {
        holdings(&mut self.broker)
    }

    /// What they have printed on standard error, which is nothing unless they fail.
    fn printed(&self) -> String {
        let printed = std::fs::read_to_string(self.ledger.path().join(ERRORS)).unwrap_or_default();
        if printed.is_empty() { printed } else { format!("\n{printed}") }
    }

    fn process(&mut self, role: Role, at: usize) -> &mut Process {
        match role {
            Role::Service => &mut self.services[at],
            Role::Caller => &mut self.callers[at],
        }
    }
}

impl Process {
    fn start(&mut self, numbers: &[u64; 2], socket: &Path, ledger: &Path) {
        self.life += 1;
        let mut command = Command::new("/proc/self/exe");
        command.arg(match self.role {
            Role::Service => "service",
            Role::Caller => "caller",
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
            let _ = kill(command::process(child.id()), signal); // it is not waited for yet, so its number is its own
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.running.as_mut().and_then(|(child, _)| child.try_wait().ok()?)
    }

    /// Tells it that the round is over.
    fn end_input(&mut self) -> Option<Leaving> {
        let name = self.name();
        let (child, stdin) = self.running.take()?;
        drop(stdin);
        Some(Leaving { name, child })
    }

    fn name(&self) -> String {
        format!("{:?} {}.{}", self.role, self.index, self.life)
    }
}

/// A process that is to end.
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

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn holdings(broker: &mut Broker) -> Holdings {
    let daemon = broker.daemon().expect("it is a process");
    Holdings { descriptors: daemon.descriptors().len(), resident_kib: proc::resident_kib(daemon.pid()) }
}

/// A directory in memory, if there is one: a service that waits for a disk would be late for another reason than its harm.
fn in_memory() -> TempDir {
    let named = || tempfile::Builder::new().prefix("chaos-").to_owned();
    named().tempdir_in("/dev/shm").or_else(|_| named().tempdir()).expect("a temporary directory")
}

fn errors(ledger: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(ledger.join(ERRORS)).expect("the directory is our own")
}

const ERRORS: &str = "errors";
/// How long anything may take once nothing is done to anyone any more.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a broker may keep of the memory that it has used: the most for which the allocator has a use.
const ROOM_KIB: u64 = 8 * 1024;
