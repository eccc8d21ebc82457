//! What is done to the processes, and how it is undone.

use std::{
    fs,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use ipc_tests::proc;
use nix::sys::signal::Signal;

use crate::{
    clock,
    dice::Dice,
    processes::{Processes, Role},
};

/// One thing to do to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Harm {
    KillService,
    StopService,
    KillCaller,
    StopCaller,
    /// SIGKILL; the next broker starts a little later.
    KillBroker,
    /// SIGTERM; the next broker starts a little later.
    EndBroker,
    StopBroker,
    /// One of the broker's socket files, or both.
    RemoveSocket,
    /// The broker can open no more descriptors than a few.
    FewDescriptors,
    /// SIGHUP with other limits, at times with a file that is wrong.
    Reload,
}

/// What ends a harm.
#[derive(Clone, Copy, Debug)]
enum Undo {
    Continue(Role, usize),
    ContinueBroker,
    Descriptors,
}

/// What may be done, and what is to be undone.
#[derive(Debug)]
pub(crate) struct Harms {
    harms: Vec<Harm>,
    later: Vec<(Instant, Undo)>,
}

impl Harm {
    /// How often each is done.
    const OFTEN: [(Self, usize); 10] = [
        (Self::KillService, 8),
        (Self::StopService, 4),
        (Self::KillCaller, 3),
        (Self::StopCaller, 4),
        (Self::KillBroker, 2),
        (Self::EndBroker, 1),
        (Self::StopBroker, 3),
        (Self::RemoveSocket, 1),
        (Self::FewDescriptors, 2),
        (Self::Reload, 3),
    ];
}

impl Harms {
    pub(crate) fn new(only: &[Harm]) -> Self {
        let chosen = Harm::OFTEN.into_iter().filter(|(harm, _)| only.is_empty() || only.contains(harm));
        let harms = chosen.flat_map(|(harm, times)| std::iter::repeat_n(harm, times)).collect();
        Self { harms, later: Vec::new() }
    }

    /// Does one of the harms.
    pub(crate) fn inflict(&mut self, processes: &mut Processes, dice: &mut Dice) -> Harm {
        let harm = dice.pick(&self.harms);
        match harm {
            Harm::KillService => processes.kill(Role::Service, below(dice, processes.services.len())),
            Harm::KillCaller => processes.kill(Role::Caller, below(dice, processes.callers.len())),
            Harm::StopService => self.stop(processes, Role::Service, dice),
            Harm::StopCaller => self.stop(processes, Role::Caller, dice),
            Harm::KillBroker => replace_broker(processes, Signal::SIGKILL, dice),
            Harm::EndBroker => replace_broker(processes, Signal::SIGTERM, dice),
            Harm::StopBroker => {
                let until = self.later(dice, Undo::ContinueBroker);
                signal_broker(processes, Signal::SIGSTOP);
                processes.history.without_broker.push(until);
            }
            Harm::RemoveSocket => remove_sockets(processes, dice),
            Harm::FewDescriptors => {
                let daemon = processes.broker.daemon().expect("it is a process");
                let few = daemon.descriptors().last().map_or(0, |last| last + 1) + below(dice, 3);
                proc::limit_descriptors(daemon.pid(), Some(few));
                let until = self.later(dice, Undo::Descriptors);
                processes.history.without_broker.push(until);
            }
            Harm::Reload => reload(processes, dice),
        }
        harm
    }

    /// Undoes what is due to be undone.
    pub(crate) fn undo_due(&mut self, processes: &mut Processes) {
        let now = Instant::now();
        let due = self.later.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>();
        due.into_iter().for_each(|(_, undone)| undo(processes, undone));
    }

    /// Undoes everything.
    pub(crate) fn undo_all(&mut self, processes: &mut Processes) {
        self.later.drain(..).for_each(|(_, undone)| undo(processes, undone));
        fs::write(processes.broker.config(), CALM).expect("the directory is our own");
        signal_broker(processes, Signal::SIGHUP);
    }

    fn stop(&mut self, processes: &mut Processes, role: Role, dice: &mut Dice) {
        let count = if role == Role::Service { processes.services.len() } else { processes.callers.len() };
        let at = below(dice, count);
        processes.signal(role, at, Signal::SIGSTOP);
        let (from, to) = self.later(dice, Undo::Continue(role, at));
        if role == Role::Caller {
            processes.history.without_caller.push((u8::try_from(at).expect("a few"), from, to));
        }
    }

    /// Plans the end of a harm. Returns the time that it takes, with some time to recover.
    fn later(&mut self, dice: &mut Dice, undone: Undo) -> (u64, u64) {
        let length = dice.ms(LONGEST_MS);
        self.later.push((Instant::now() + length, undone));
        let now = clock::now();
        (now, now + u64::try_from((length + RECOVERY).as_nanos()).expect("less than a second"))
    }
}

fn undo(processes: &mut Processes, undone: Undo) {
    match undone {
        Undo::Continue(role, at) => processes.signal(role, at, Signal::SIGCONT),
        Undo::ContinueBroker => signal_broker(processes, Signal::SIGCONT),
        Undo::Descriptors => {
            let daemon = processes.broker.daemon().expect("it is a process");
            if proc::is_running(daemon.pid()) {
                proc::limit_descriptors(daemon.pid(), None);
            }
        }
    }
}

/// A broker that has ended by itself is found later.
fn signal_broker(processes: &mut Processes, signal: Signal) {
    let daemon = processes.broker.daemon().expect("it is a process");
    if proc::is_running(daemon.pid()) {
        daemon.signal(signal);
    }
}

fn replace_broker(processes: &mut Processes, signal: Signal, dice: &mut Dice) {
    let from = clock::now();
    signal_broker(processes, signal);
    signal_broker(processes, Signal::SIGCONT); // one that is stopped takes no SIGTERM
    processes.broker.daemon().expect("it is a process").exit_code();
    let pause = dice.ms(LONGEST_MS / 4);
    ipc_tests::eventually::within(pause, || false);
    fs::write(processes.broker.config(), limits(dice)).expect("the directory is our own");
    processes.broker.start_again();
    let recovery = u64::try_from(RECOVERY.as_nanos()).expect("less than a second");
    processes.history.without_broker.push((from, clock::now() + recovery));
}

fn remove_sockets(processes: &mut Processes, dice: &mut Dice) {
    let paths = [processes.broker.socket().to_owned(), processes.broker.datagram_socket()];
    let chosen = dice.below(3);
    for (at, path) in paths.iter().enumerate() {
        if chosen == 2 || chosen == at as u64 {
            let _ = fs::remove_file(path); // it may be gone already
        }
    }
}

fn reload(processes: &mut Processes, dice: &mut Dice) {
    let text = if dice.once_in(5) { "[limits]\nnonsense = 1\n".to_owned() } else { limits(dice) };
    fs::write(processes.broker.config(), text).expect("the directory is our own");
    signal_broker(processes, Signal::SIGHUP);
}

/// A configuration with some limits that are felt.
fn limits(dice: &mut Dice) -> String {
    let mut text = CALM.to_owned();
    let choices: [(&str, &[u64]); 8] = [
        ("calls_per_caller", &[4, 40, 1_024]),
        ("calls_per_service", &[8, 100, 4_096]),
        ("turn_frames", &[1, 3, 16, 64]),
        ("connections", &[20, 40, 16_384]),
        ("bytes_per_uid", &[1_400_000, 4_000_000, 33_554_432]),
        ("body_bytes", &[30_000, 300_000, 1_048_576]),
        ("stray_replies", &[0, 16]),
        ("frame_ms", &[200, 10_000]),
    ];
    for (name, values) in choices {
        if dice.once_in(3) {
            text += &format!("{name} = {}\n", dice.pick(values));
        }
    }
    text
}

fn below(dice: &mut Dice, count: usize) -> usize {
    usize::try_from(dice.below(count as u64)).expect("it is below a length")
}

/// The configuration at the start and at the end of a round. Calls without a timeout end soon, and so does a broker.
pub(crate) const CALM: &str = "[limits]\ncall_default_ms = 2000\ndrain_ms = 300\n";
/// The longest that anything lasts.
const LONGEST_MS: u64 = 300;
/// For so long afterwards a delay is still explained by it.
const RECOVERY: Duration = Duration::from_millis(200);
