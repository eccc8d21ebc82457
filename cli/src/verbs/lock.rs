//! `ipcctl lock`: a command that runs while a lock is held.

use std::{ffi::OsString, os::fd::AsFd, process::ExitStatus, time::Duration};

use ipc_client::{Error, ErrorCode, LockGuard, Locking, Retry, ServiceName};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};

use crate::{
    child::{
        Interest, ready,
        recipe::{Manner, exit_status},
        sentry::Sentry,
    },
    duration,
    exit::Exit,
    globals::Globals,
    number::within,
    problem::{Problem, Result},
    program::Program,
    signals::{Origin, Signals},
    verbs::run,
};

/// Run a command while holding a lock, which keeps out all others that take the same lock.
///
/// The lock is the broker's, and goes to those who wait in order of arrival. It is held by this ipcctl, and given back when CMD ends,
/// or when ipcctl is killed: CMD and its children are killed first. Unlike with flock(1) nothing inherits it: what CMD leaves running
/// runs on without it. If the broker goes away, the lock is lost: CMD gets TERM, a line on standard error says so, and the exit code
/// is 74 once CMD has ended.
///
/// Otherwise the exit code is CMD's: 128 + the signal if one killed it. It is 75 if the lock is held with --try, 124 if the time to
/// wait for it is over, 125 if ipcctl itself failed, 126 if CMD cannot be executed, 127 if there is none.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Who holds a lock and who waits: ipcctl show NAME. Signals that ipcctl gets while CMD runs go to CMD.

Examples:
  ipcctl lock backup -- rsync -a /home /mnt
  ipcctl lock backup --try -- rsync -a /home /mnt || echo 'is running already'
  ipcctl lock gpu --shared 2 --wait -- render frame.7
  ipcctl lock deploy -t 5m -- sh -c './build && ./install'"
)]
pub(crate) struct Args {
    /// The lock: any name like that of a service
    name: ServiceName,

    /// Wait for the lock for DURATION instead of -t, or without it for as long as it takes; each hour at the end of the line
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, value_parser = duration::parse)]
    wait: Option<Option<Duration>>,

    /// Don't wait: end with 75 if the lock is held
    #[arg(long = "try", conflicts_with = "wait")]
    tries: bool,

    /// Let N hold the lock at once; all who take it must name the same number
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = |text: &str| within(text, 1..=u32::MAX))]
    shared: u32,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// A command that runs under a lock.
struct Supervised<'a> {
    command: Pid,
    guard: &'a LockGuard,
    /// What the loss of the lock was reported as.
    lost: Option<Exit>,
}

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let subject = self.name.as_str();
        let program = Program::find(&self.command, subject)?;
        let guard = self.take(globals)?;
        globals.say(|| format!("holding the lock {}", self.name));
        let host = |operation| move |error| Problem::host(subject, operation, &error).not_run();
        let signals = Signals::require_sigchld().and_then(|()| Signals::hold(&run::WATCHED));
        let signals = signals.map_err(host("cannot watch for signals"))?;
        let copy = guard.as_fd().try_clone_to_owned().map_err(host("cannot copy the connection"))?;
        let sentry = Sentry::start(copy).map_err(|error| {
            Problem::own("failed", 125, subject, format!("cannot guard the command: {error}")).not_run()
        })?;
        let mut recipe = program.recipe();
        sentry.mark(&mut recipe);
        let command = recipe.start(Manner::InOurPlace(signals.mask_before()));
        let command = command.map_err(|error| program.cannot_run(&error, subject));
        let exit = match command {
            // If this fails the command is left to the sentry.
            Ok(command) => Ok(Supervised { command, guard: &guard, lost: None }.supervise(&signals, globals)?),
            Err(problem) => Err(problem),
        };
        let _ = guard.release(); // fails if the connection has ended, and the lock with it
        sentry.end();
        signals.keep_holding();
        exit
    }

    fn take(&self, globals: &Globals) -> Result<LockGuard> {
        let client = globals.client("lock", self.name.as_str())?;
        let problem = |error| self.problem(error, globals);
        let locking = client.locking(self.name.as_str()).places(self.shared);
        if self.tries {
            let locking = timed(locking, globals.timeout());
            return locking.try_take().map_err(problem)?.ok_or_else(|| self.held(ErrorCode::BUSY, "the lock is held"));
        }
        globals.say(|| format!("waiting for the lock {}", self.name));
        match self.wait {
            Some(None) => as_long_as_it_takes(&locking).map_err(problem),
            Some(Some(time)) => locking.timeout(time).take().map_err(problem),
            None => timed(locking, globals.timeout()).take().map_err(problem),
        }
    }

    fn problem(&self, error: Error, globals: &Globals) -> Problem {
        // The broker says itself that a time is over; without its word nothing is known of the lock.
        if error.code() == ErrorCode::DEADLINE && error.retry() == Retry::Safe {
            return self.held(ErrorCode::DEADLINE, "the lock was held all the time that it was waited for");
        }
        let problem = Problem::from_error(self.name.as_str(), &globals.explained(error));
        // Of what is asked for, only the number of places can be wrong: the name has been checked.
        if problem.is(ErrorCode::INVALID) { problem.hint("--shared sets the number of places") } else { problem }
    }

    fn held(&self, code: ErrorCode, message: &str) -> Problem {
        let hint = format!("'ipcctl show {}' says by whom", self.name);
        Problem::new(code, self.name.as_str(), message).hint(hint)
    }
}

impl Supervised<'_> {
    /// Passes signals on until the command has ended.
    fn supervise(mut self, signals: &Signals, globals: &Globals) -> Result<Exit> {
        let guard = self.guard;
        loop {
            let connection = self.lost.is_none().then_some(guard as _);
            let watched = [(Some(signals as _), Interest::Read), (connection, Interest::Read)];
            let poll = |error| Problem::host(guard.name().as_str(), "poll", &error);
            let [_, has_news] = ready(watched, None).map_err(poll)?;
            if has_news && !guard.is_held() {
                self.lose(globals);
            }
            while let Some(arrived) = signals.take() {
                // What a key on the terminal sends, the command has received, too.
                if arrived.signal != Signal::SIGCHLD && arrived.origin == Origin::Process {
                    self.signal(arrived.signal);
                }
            }
            if let Some(status) = self.status() {
                globals.say(|| format!("the command ended with {status}"));
                return Ok(self.lost.unwrap_or(Exit::of(status)));
            }
        }
    }

    /// Without the lock the command must not go on.
    fn lose(&mut self, globals: &Globals) {
        let message = "the connection to the broker has ended, and the lock with it: the command gets TERM";
        let problem = Problem::new(ErrorCode::BROKER_LOST, self.guard.name().as_str(), message).hint("");
        problem.report(globals.format, globals.loudness());
        self.lost = Some(problem.exit());
        self.signal(Signal::SIGTERM);
        self.signal(Signal::SIGCONT); // a stopped process receives TERM only once it continues
    }

    fn signal(&self, signal: Signal) {
        let _ = kill(self.command, signal); // not waited for yet, so the number is its own
    }

    fn status(&self) -> Option<ExitStatus> {
        loop {
            match waitpid(self.command, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::EINTR) => {}
                ended => return ended.ok().and_then(exit_status).map(|(_, status)| status),
            }
        }
    }
}

fn timed(locking: Locking, time: Option<Duration>) -> Locking {
    match time {
        Some(time) => locking.timeout(time),
        None => locking,
    }
}

/// The broker cuts each wait to the longest call it allows.
fn as_long_as_it_takes(locking: &Locking) -> ipc_client::Result<LockGuard> {
    loop {
        match locking.clone().timeout(Duration::MAX).take() {
            Err(error) if error.code() == ErrorCode::DEADLINE => {}
            outcome => return outcome,
        }
    }
}
