//! The command of `ipcctl run`, and the processes that it leaves behind.
//!
//! This process is a subreaper (prctl(2)): descendants whose parent dies become our children, whatever their process group or
//! session. So at the end everything that the command left running is a child of ours, or a child's child, and none gets away.

use std::{
    process::ExitStatus,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::kin::{Kin, Process};
use crate::{
    child::{
        Interest, ready,
        recipe::{Manner, Recipe, exit_status},
    },
    problem::{Problem, Result},
    program::Program,
    signals::Signals,
};

/// Our children: the command, and what it left to us.
#[derive(Debug)]
pub(crate) struct Children {
    kin: Kin,
    /// The command, until it has been waited for: then its number is free for another process.
    command: Option<Pid>,
    status: Option<ExitStatus>,
}

/// Whether we have children at all, earlier ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    None,
    Some,
}

impl Children {
    /// Makes orphans our children.
    pub(crate) fn adopt(kin: Kin) -> Result<Self> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|error| Problem::host("run", "cannot become a subreaper", &error.into()))?;
        Ok(Self { kin, command: None, status: None })
    }

    /// Starts the command.
    pub(crate) fn start(&mut self, recipe: Recipe, manner: Manner, program: &Program) -> Result<()> {
        self.command = Some(recipe.start(manner).map_err(|error| program.cannot_run(&error, "run"))?);
        Ok(())
    }

    /// How the command ended, once it has.
    pub(crate) fn status(&self) -> Option<ExitStatus> {
        self.status
    }

    /// Passes a signal on to the command.
    pub(crate) fn forward(&self, signal: Signal) {
        if let Some(command) = self.command {
            let _ = kill(command, signal); // not waited for yet, so the number is its own
        }
    }

    /// Waits for every child that has ended.
    pub(crate) fn reap(&mut self) {
        let _ = self.reap_all();
    }

    /// Ends what the command left. Those of a child that ends become ours and are ended in turn.
    pub(crate) fn end(&mut self, signals: &Signals) {
        let mut farewell = Farewell::begin();
        while self.reap_all() == Left::Some && !farewell.has_given_up() {
            let left = self.kin.children();
            if left.is_empty() {
                return;
            }
            farewell.round(&left);
            // The kernel doesn't tell when an orphan becomes ours: look again soon.
            let _ = ready([(Some(signals as _), Interest::Read)], Some(Instant::now() + LOOK_AGAIN));
            while let Some(arrived) = signals.take() {
                if arrived.signal != Signal::SIGCHLD {
                    farewell.hurry();
                }
            }
        }
    }

    fn reap_all(&mut self) -> Left {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return Left::Some,
                Ok(status) => self.note(exit_status(status)),
                Err(Errno::EINTR) => {}
                Err(_) => return Left::None, // ECHILD
            }
        }
    }

    fn note(&mut self, ended: Option<(Pid, ExitStatus)>) {
        if let Some((_, status)) = ended.filter(|(pid, _)| Some(*pid) == self.command) {
            (self.status, self.command) = (Some(status), None);
        }
    }
}

/// How everything that is left is ended.
///
/// Filters come last: the tee of `exec > >(tee log)` ends by itself once all its writers are gone, and must not lose what it
/// hasn't read yet. The shell's child that is about to become that tee doesn't read from the pipe yet: what was only just forked
/// gets a moment.
struct Farewell {
    forks_settle_at: Instant,
    others: Round,
    filters: Round,
    give_up_at: Instant,
}

/// TERM for some processes, and KILL after the grace time.
struct Round {
    ask_at: Instant,
    kill_at: Instant,
    asked: Vec<Pid>,
}

impl Farewell {
    fn begin() -> Self {
        let (others, filters) = (Round::after(Duration::ZERO), Round::after(FILTER_GRACE));
        let forks_settle_at = Instant::now() + FORK_GRACE;
        Self { give_up_at: others.kill_at + PATIENCE, forks_settle_at, others, filters }
    }

    /// Whether what is left can't be ended.
    fn has_given_up(&self) -> bool {
        self.give_up_at <= Instant::now()
    }

    /// No more grace.
    fn hurry(&mut self) {
        self.forks_settle_at = Instant::now();
        self.others.hurry();
        self.filters.hurry();
    }

    fn round(&mut self, left: &[Process]) {
        let (filters, mut others): (Vec<Process>, Vec<Process>) = left.iter().partition(|process| process.is_filter());
        if others.is_empty() {
            return self.filters.end(&filters);
        }
        if Instant::now() < self.forks_settle_at {
            others.retain(|process| !process.is_a_fork());
        }
        self.others.end(&others);
        self.filters.postpone();
    }
}

impl Round {
    fn after(pause: Duration) -> Self {
        let ask_at = Instant::now() + pause;
        Self { ask_at, kill_at: ask_at + GRACE, asked: Vec::new() }
    }

    /// Starts over, unless the time is up.
    fn postpone(&mut self) {
        if self.kill_at > Instant::now() {
            *self = Self::after(FILTER_GRACE);
        }
    }

    fn hurry(&mut self) {
        (self.ask_at, self.kill_at) = (Instant::now(), Instant::now());
    }

    fn end(&mut self, processes: &[Process]) {
        let now = Instant::now();
        for pid in processes.iter().map(|process| process.pid) {
            if self.kill_at <= now {
                let _ = kill(pid, Signal::SIGKILL);
            } else if self.ask_at <= now && !self.asked.contains(&pid) {
                self.asked.push(pid);
                let _ = kill(pid, Signal::SIGTERM);
                let _ = kill(pid, Signal::SIGCONT); // a stopped process receives TERM only once it continues
            }
        }
    }
}

/// The time between TERM and KILL.
const GRACE: Duration = Duration::from_secs(1);
/// The time after KILL. We may not kill a process of another user (sudo).
const PATIENCE: Duration = Duration::from_secs(5);
/// The time for a process that was forked to execute its program, or to redirect its standard input.
const FORK_GRACE: Duration = Duration::from_millis(250);
/// The time for filters to end by themselves, once only filters are left.
const FILTER_GRACE: Duration = Duration::from_secs(1);
/// How often new orphans are looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
