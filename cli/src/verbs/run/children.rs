//! The command of `ipcctl run`, and the processes that it leaves behind.
//!
//! This process is a subreaper (prctl(2)): a process whose parent dies becomes our child, whatever process group or session it is
//! in. So at the end all that the command left running are our children, or children of these, and none can slip away.

use std::{
    fs, io,
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

use crate::{
    child::{
        Interest, ready,
        recipe::{Manner, Recipe, exit_status},
    },
    problem::{Problem, Result},
    program::Program,
    signals::Signals,
};

/// Our children: the command, and what was left to us.
#[derive(Debug)]
pub(crate) struct Children {
    /// The command, until it has been waited for: then its number is free for another process.
    command: Option<Pid>,
    status: Option<ExitStatus>,
}

/// Whether there are children left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    None,
    Some,
}

impl Children {
    /// Makes orphans our children.
    pub(crate) fn adopt() -> Result<Self> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|error| Problem::host("run", "cannot become a subreaper", &error.into()))?;
        Ok(Self { command: None, status: None })
    }

    /// Starts the command.
    pub(crate) fn start(&mut self, recipe: Recipe, manner: Manner, program: &Program) -> Result<()> {
        self.command = Some(recipe.start(manner).map_err(|error| cannot_run(program, &error))?);
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

    /// Ends all children: TERM, and KILL for those that are left when the grace time is over or another signal to end comes. Those
    /// of a child that ends become ours and are ended in turn.
    pub(crate) fn end(&mut self, signals: &Signals) {
        let mut asked: Vec<Pid> = Vec::new();
        let mut kill_at = Instant::now() + GRACE;
        let give_up_at = kill_at + PATIENCE;
        while self.reap_all() == Left::Some && Instant::now() < give_up_at {
            let is_late = Instant::now() >= kill_at;
            for child in children_of(Pid::this()) {
                if is_late {
                    let _ = kill(child, Signal::SIGKILL);
                } else if !asked.contains(&child) {
                    asked.push(child);
                    let _ = kill(child, Signal::SIGTERM);
                    let _ = kill(child, Signal::SIGCONT); // a stopped process gets TERM only when it goes on
                }
            }
            // That an orphan has become ours nobody tells: look again soon.
            let _ = ready([(Some(signals as _), Interest::Read)], Some(Instant::now() + LOOK_AGAIN));
            while let Some(arrived) = signals.take() {
                if arrived.signal != Signal::SIGCHLD {
                    kill_at = Instant::now();
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

fn cannot_run(program: &Program, error: &io::Error) -> Problem {
    let (name, exit) =
        if error.kind() == io::ErrorKind::NotFound { ("not_found", 127) } else { ("not_executable", 126) };
    Problem::own(name, exit, "run", format!("cannot run {}: {error}", program.name()))
}

/// The children of a process. A signal may be sent to ours without doubt: their numbers are theirs until we have waited for them.
fn children_of(parent: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|number| parent_of(*number) == Some(parent.as_raw())).map(Pid::from_raw).collect()
}

fn parent_of(number: i32) -> Option<i32> {
    parent_in(&fs::read_to_string(format!("/proc/{number}/stat")).ok()?)
}

/// proc_pid_stat(5): `pid (name) state ppid …`, where the name may contain anything.
fn parent_in(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// How long processes that were left behind may take to end.
const GRACE: Duration = Duration::from_secs(1);
/// How long after KILL a process is waited for: one of another user (sudo) may not be killed by us.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often new orphans are looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_a_hostile_name() {
        assert_eq!(parent_in("12 (a b) S 3 12 12"), Some(3));
        assert_eq!(parent_in("12 (a) S 9 (b) R 3 12"), Some(3));
        assert_eq!(parent_in(""), None);
    }

    #[test]
    fn a_child_is_found() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let number = Pid::from_raw(i32::try_from(child.id()).unwrap());
        assert!(children_of(Pid::this()).contains(&number));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!children_of(Pid::this()).contains(&number));
    }
}
