//! A second process that ends the process groups of our commands when we are killed.
//!
//! PR_SET_PDEATHSIG (prctl(2)) reaches only the leader of a group, and acts when the thread that started it ends. So `ipcctl serve`
//! starts itself once more as `ipcctl-guard` and tells it through a pipe which groups there are. When we die, for whatever reason,
//! the pipe ends; the guard kills the groups that are left, and exits.
//!
//! ```text
//!   serve ──"+4711\n", "-4711\n"──► guard ──KILL──► group 4711, after the pipe's end
//! ```
//!
//! If the guard can't be started, commands run all the same, but outlive a service that is killed.

use std::{
    collections::BTreeSet,
    env,
    io::{self, BufRead, PipeWriter},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::{
    sys::{
        prctl::set_name,
        signal::{SigSet, Signal, kill, killpg},
        wait::waitpid,
    },
    unistd::Pid,
};

use crate::child::recipe::{Manner, Recipe, Stream};

/// Our end of the guard. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Guard(Option<Arc<Process>>);

#[derive(Debug)]
struct Process {
    pid: Pid,
    /// `None` once it has been ended.
    orders: Mutex<Option<PipeWriter>>,
}

impl Guard {
    /// Starts the guard, if possible.
    pub(crate) fn start() -> Self {
        Self(Process::start().ok().map(Arc::new))
    }

    #[cfg(test)]
    pub(crate) fn absent() -> Self {
        Self(None)
    }

    /// Has a process group killed if we die.
    pub(crate) fn watch(&self, group: Pid) {
        self.tell('+', group);
    }

    /// Forgets a process group. To be called before its number can be reused.
    pub(crate) fn forget(&self, group: Pid) {
        self.tell('-', group);
    }

    /// Ends the guard, which kills the groups that are left, and waits for it.
    pub(crate) fn end(&self) {
        if let Some(process) = &self.0 {
            process.end();
        }
    }

    fn tell(&self, sign: char, group: Pid) {
        if let Some(process) = &self.0 {
            process.tell(&format!("{sign}{group}\n"));
        }
    }
}

impl Process {
    fn start() -> io::Result<Self> {
        let (its_orders, orders) = io::pipe()?;
        rustix::io::ioctl_fionbio(&orders, true)?;
        let mut recipe = Recipe::new(PROGRAM, vec![NAME.into()]);
        recipe.streams([Stream::Is(its_orders.into()), Stream::Null, Stream::Null]);
        let pid = recipe.start(Manner::OnItsOwn).map_err(io::Error::other)?;
        Ok(Self { pid, orders: Mutex::new(Some(orders)) })
    }

    /// A write of a few bytes is whole or fails (pipe(7)). It fails if the guard has been stopped until its pipe was full: it would
    /// miss the end of a group, and kill another that has the number by then. Such a guard is ended.
    fn tell(&self, order: &str) {
        let mut orders = self.orders();
        let is_told = orders.as_ref().is_none_or(|orders| rustix::io::write(orders, order.as_bytes()).is_ok());
        if !is_told {
            let _ = kill(self.pid, Signal::SIGKILL); // not waited for yet, so the number is its own
            self.wait(&mut orders);
        }
    }

    fn end(&self) {
        let mut orders = self.orders();
        if orders.is_some() {
            let _ = kill(self.pid, Signal::SIGCONT);
            self.wait(&mut orders);
        }
    }

    fn wait(&self, orders: &mut Option<PipeWriter>) {
        *orders = None;
        let _ = waitpid(self.pid, None); // fails only if there is no such child
    }

    fn orders(&self) -> MutexGuard<'_, Option<PipeWriter>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this process was started as a guard.
pub(crate) fn is_wanted() -> bool {
    env::args_os().next().is_some_and(|name| name == NAME)
}

/// The life of a guard. It blocks all signals: one that ends the service must not end the guard.
pub(crate) fn keep() {
    let _ = set_name(c"ipcctl-guard"); // else ps(1) shows "exe"
    let _ = SigSet::all().thread_block();
    for group in left_in(io::stdin().lock()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL); // ESRCH: it has ended
    }
}

/// The groups that are left when the orders end.
fn left_in(orders: impl BufRead) -> BTreeSet<i32> {
    let mut groups = BTreeSet::new();
    for order in orders.lines().map_while(Result::ok) {
        let group = |text: &str| text.parse::<i32>().ok().filter(|group| *group > 1);
        if let Some(group) = order.strip_prefix('+').and_then(group) {
            groups.insert(group);
        } else if let Some(group) = order.strip_prefix('-').and_then(group) {
            groups.remove(&group);
        }
    }
    groups
}

/// This program, even if its file was replaced.
pub(crate) const PROGRAM: &str = "/proc/self/exe";
/// The name that makes it a guard.
pub(crate) const NAME: &str = "ipcctl-guard";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_ended_before_are_not_killed() {
        assert_eq!(left_in(&b"+7\n+8\n-7\n+9\n"[..]), BTreeSet::from([8, 9]));
        assert_eq!(left_in(&b""[..]), BTreeSet::new());
    }

    #[test]
    fn no_order_means_everybody() {
        // kill(2): 0, 1 and -1 mean our own group, init and all processes.
        assert_eq!(left_in(&b"+0\n+1\n+-1\n+\nnonsense\n"[..]), BTreeSet::new());
    }
}
