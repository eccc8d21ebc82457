//! A second process that keeps a lock until what ran under it is dead.
//!
//! A lock is held by a connection. If `ipcctl lock` is killed with KILL, its connection ends before anyone can end its command, which
//! would run on beside the next holder. So `ipcctl lock` starts itself once more as `ipcctl-sentry`, with a copy of the connection:
//! the lock ends when both have gone.
//!
//! ```text
//!   lock ──"end\n"──► sentry: exits
//!   lock ──(dies)───► sentry: KILL to all that carry the mark, until there are none; exits
//! ```
//!
//! The mark is a variable that the command's environment alone has, with its children's. It is there from the command's first
//! instruction on, while its number would have to be told to the sentry, which takes a moment too long. Processes that cleared their
//! environment, or that run as another user, are not found.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, PipeWriter, Read, Write},
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    thread,
    time::{Duration, SystemTime},
};

use nix::{
    sys::{
        prctl::set_name,
        signal::{SigSet, Signal, kill},
        wait::waitpid,
    },
    unistd::Pid,
};

use crate::child::{
    guard,
    recipe::{Manner, Recipe, SpawnError, Stream},
};

/// Our end of the sentry. If it is dropped without [`Sentry::end`], the sentry does what it is there for.
#[derive(Debug)]
pub(crate) struct Sentry {
    pid: Pid,
    orders: PipeWriter,
    mark: String,
}

impl Sentry {
    /// Starts a sentry that keeps a copy of `connection`.
    pub(crate) fn start(connection: OwnedFd) -> Result<Self, SpawnError> {
        let host = |operation| move |source| SpawnError::Host { operation, source };
        let (its_orders, orders) = io::pipe().map_err(host("make a pipe"))?;
        let began = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let mark = format!("{}-{began}", std::process::id());
        let mut recipe = Recipe::new(guard::PROGRAM, vec![NAME.into(), format!("{VARIABLE}={mark}").into()]);
        // An outer lock must not end it with the command of which it is a part: it has still to end ours.
        recipe.unset(VARIABLE);
        recipe.streams([Stream::Is(its_orders.into()), Stream::Is(connection), Stream::Null]);
        let pid = recipe.start(Manner::OnItsOwn)?;
        Ok(Self { pid, orders, mark })
    }

    /// Marks a command as one to be ended with us.
    pub(crate) fn mark(&self, recipe: &mut Recipe) {
        recipe.set(VARIABLE, &self.mark);
    }

    /// The command has ended, and what it left running may go on: it doesn't hold the lock.
    pub(crate) fn end(mut self) {
        let _ = self.orders.write_all(b"end\n"); // fails if it was killed, and then there is nobody to tell
        drop(self.orders);
        let _ = waitpid(self.pid, None); // fails only if there is no such child
    }
}

/// The mark to look for, if this process was started as a sentry.
pub(crate) fn wanted() -> Option<OsString> {
    let mut arguments = env::args_os();
    arguments.next().filter(|name| name == NAME).and_then(|_| arguments.next())
}

/// The life of a sentry. It blocks all signals: one that ends its parent must not end it.
pub(crate) fn keep(mark: &OsString) {
    let _ = set_name(c"ipcctl-sentry"); // else ps(1) shows "exe"
    let _ = SigSet::all().thread_block();
    let mut orders = Vec::new();
    let _ = io::stdin().lock().read_to_end(&mut orders);
    if orders.is_empty() {
        kill_all(mark.as_bytes());
    }
}

/// Kills all that carry the mark, and returns when they are dead. One that was forked and hasn't executed its program yet carries it
/// a moment later: it is looked for once more.
fn kill_all(mark: &[u8]) {
    let mut rounds_without = 0;
    while rounds_without < 2 {
        let marked = marked(mark);
        rounds_without = if marked.is_empty() { rounds_without + 1 } else { 0 };
        for pid in marked {
            let _ = kill(pid, Signal::SIGKILL); // ESRCH: it has ended
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// The living processes that carry the mark: of a dead one that nobody has waited for, the environment is gone.
fn marked(mark: &[u8]) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_marked = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark)
    };
    numbers.filter(is_marked).map(Pid::from_raw).collect()
}

/// The name that makes this program a sentry.
const NAME: &str = "ipcctl-sentry";
/// The variable that is the mark.
const VARIABLE: &str = "IPCD_LOCK";
/// The time between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
