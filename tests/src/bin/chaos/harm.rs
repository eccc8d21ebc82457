//! What is done to the cast, and how it is undone.

use std::{
    fs,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use ipc_tests::proc;
use nix::sys::signal::Signal;

use crate::{
    cast::{Cast, Part},
    clock,
    dice::Dice,
};

/// One thing to do to somebody.
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
enum Relief {
    Continue(Part, usize),
    ContinueBroker,
    Descriptors,
}

/// The one who does it.
#[derive(Debug)]
pub(crate) struct Villain {
    harms: Vec<Harm>,
    later: Vec<(Instant, Relief)>,
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

impl Villain {
    pub(crate) fn new(only: &[Harm]) -> Self {
        let chosen = Harm::OFTEN.into_iter().filter(|(harm, _)| only.is_empty() || only.contains(harm));
        let harms = chosen.flat_map(|(harm, times)| std::iter::repeat_n(harm, times)).collect();
        Self { harms, later: Vec::new() }
    }

    /// Does something to somebody.
    pub(crate) fn strike(&mut self, cast: &mut Cast, dice: &mut Dice) -> Harm {
        let harm = dice.pick(&self.harms);
        match harm {
            Harm::KillService => cast.kill(Part::Service, below(dice, cast.services.len())),
            Harm::KillCaller => cast.kill(Part::Caller, below(dice, cast.callers.len())),
            Harm::StopService => self.stop(cast, Part::Service, dice),
            Harm::StopCaller => self.stop(cast, Part::Caller, dice),
            Harm::KillBroker => replace_broker(cast, Signal::SIGKILL, dice),
            Harm::EndBroker => replace_broker(cast, Signal::SIGTERM, dice),
            Harm::StopBroker => {
                let until = self.later(dice, Relief::ContinueBroker);
                signal_broker(cast, Signal::SIGSTOP);
                cast.chronicle.without_broker.push(until);
            }
            Harm::RemoveSocket => remove_sockets(cast, dice),
            Harm::FewDescriptors => {
                let daemon = cast.broker.daemon().expect("it is a process");
                let few = daemon.descriptors().last().map_or(0, |last| last + 1) + below(dice, 3);
                proc::limit_descriptors(daemon.pid(), Some(few));
                let until = self.later(dice, Relief::Descriptors);
                cast.chronicle.without_broker.push(until);
            }
            Harm::Reload => reload(cast, dice),
        }
        harm
    }

    /// Undoes what is due to be undone.
    pub(crate) fn relent(&mut self, cast: &mut Cast) {
        let now = Instant::now();
        let due = self.later.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>();
        due.into_iter().for_each(|(_, relief)| relieve(cast, relief));
    }

    /// Undoes everything.
    pub(crate) fn repent(&mut self, cast: &mut Cast) {
        self.later.drain(..).for_each(|(_, relief)| relieve(cast, relief));
        fs::write(cast.broker.config(), GENTLE).expect("the directory is our own");
        signal_broker(cast, Signal::SIGHUP);
    }

    fn stop(&mut self, cast: &mut Cast, part: Part, dice: &mut Dice) {
        let count = if part == Part::Service { cast.services.len() } else { cast.callers.len() };
        let at = below(dice, count);
        cast.signal(part, at, Signal::SIGSTOP);
        let (from, to) = self.later(dice, Relief::Continue(part, at));
        if part == Part::Caller {
            cast.chronicle.without_caller.push((u8::try_from(at).expect("a few"), from, to));
        }
    }

    /// Plans the end of a harm. Returns the time that it takes, with some time to recover.
    fn later(&mut self, dice: &mut Dice, relief: Relief) -> (u64, u64) {
        let length = dice.ms(LONGEST_MS);
        self.later.push((Instant::now() + length, relief));
        let now = clock::now();
        (now, now + u64::try_from((length + RECOVERY).as_nanos()).expect("less than a second"))
    }
}

fn relieve(cast: &mut Cast, relief: Relief) {
    match relief {
        Relief::Continue(part, at) => cast.signal(part, at, Signal::SIGCONT),
        Relief::ContinueBroker => signal_broker(cast, Signal::SIGCONT),
        Relief::Descriptors => {
            let daemon = cast.broker.daemon().expect("it is a process");
            if proc::is_running(daemon.pid()) {
                proc::limit_descriptors(daemon.pid(), None);
            }
        }
    }
}

/// A broker that has ended by itself is found later.
fn signal_broker(cast: &mut Cast, signal: Signal) {
    let daemon = cast.broker.daemon().expect("it is a process");
    if proc::is_running(daemon.pid()) {
        daemon.signal(signal);
    }
}

fn replace_broker(cast: &mut Cast, signal: Signal, dice: &mut Dice) {
    let from = clock::now();
    signal_broker(cast, signal);
    signal_broker(cast, Signal::SIGCONT); // one that is stopped would not hear of its end
    cast.broker.daemon().expect("it is a process").exit_code();
    let pause = dice.ms(LONGEST_MS / 4);
    ipc_tests::eventually::within(pause, || false);
    fs::write(cast.broker.config(), limits(dice)).expect("the directory is our own");
    cast.broker.start_again();
    let recovery = u64::try_from(RECOVERY.as_nanos()).expect("less than a second");
    cast.chronicle.without_broker.push((from, clock::now() + recovery));
}

fn remove_sockets(cast: &mut Cast, dice: &mut Dice) {
    let paths = [cast.broker.socket().to_owned(), cast.broker.datagram_socket()];
    let chosen = dice.below(3);
    for (at, path) in paths.iter().enumerate() {
        if chosen == 2 || chosen == at as u64 {
            let _ = fs::remove_file(path); // it may be gone already
        }
    }
}

fn reload(cast: &mut Cast, dice: &mut Dice) {
    let text = if dice.once_in(5) { "[limits]\nnonsense = 1\n".to_owned() } else { limits(dice) };
    fs::write(cast.broker.config(), text).expect("the directory is our own");
    signal_broker(cast, Signal::SIGHUP);
}

/// A configuration with some limits that are felt.
fn limits(dice: &mut Dice) -> String {
    let mut text = GENTLE.to_owned();
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
pub(crate) const GENTLE: &str = "[limits]\ncall_default_ms = 2000\ndrain_ms = 300\n";
/// The longest that anything lasts.
const LONGEST_MS: u64 = 300;
/// For so long afterwards a delay is still explained by it.
const RECOVERY: Duration = Duration::from_millis(200);
