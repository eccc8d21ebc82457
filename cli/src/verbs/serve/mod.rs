//! `ipcctl serve`: make a service out of any command.

mod environment;
mod host;
mod lines;
mod once;
mod running;

use std::{ffi::OsString, num::NonZeroU16, os::fd::OwnedFd, sync::Arc, thread, time::Duration};

use ipc_client::{Context, Failed, Incoming, Response, Service, ServiceName, Serving};
use nix::sys::signal::Signal;

use self::{
    lines::{Lines, Plan},
    once::Once,
    running::Running,
};
use crate::{
    child::{Interest, bell::Bell, log::Log, ready},
    duration,
    exit::Exit,
    format::Loudness,
    globals::Globals,
    link,
    problem::{Problem, Result},
    program::Program,
    signals::Signals,
};

/// Answer the calls of a name by running a command, once for each call.
///
/// The body is on the command's standard input and nowhere else; what it writes on standard output is the reply. Its environment
/// has IPC_SERVICE, IPC_METHOD, IPC_ENCODING (bytes or json), IPC_DEADLINE_MS, IPC_PEER_UID, IPC_PEER_GID, IPC_PEER_PID (empty
/// when unknown), and TRACEPARENT if the caller sent a valid one. Its standard error is passed on (not with -q).
///
/// A command that runs when its call is cancelled or out of time gets TERM, and KILL half a second later, with all of its process
/// group. What is left of the group when the command has ended is killed.
///
/// Every method of the name is answered; 'serve text.upper' and 'serve text.lower' are two services of one method each.
#[derive(Debug, clap::Args)]
#[command(after_help = "The exit code of the command decides:
  0                 the reply
  1-63              app_error with this code, and the last part of standard error as its text
  65 67 75 77       invalid, no_method, busy, denied
  others, signals   internal

TERM or INT: no more calls are taken, those that run may take 5s to end, then the exit code is 0; a second one ends them at once.
Exit codes of its own: 126, 127 if there is no such command, 73 if the name is taken.

Examples:
  ipcctl serve upper -- tr a-z A-Z
  ipcctl serve resize --jobs 8 --timeout 1m -- ./resize.sh
  ipcctl serve trim --lines -- sed -u 's/^ *//'")]
pub(crate) struct Args {
    /// The name to offer: all of it is the service, its last label too
    name: ServiceName,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,

    /// Calls answered at once; further ones wait at the broker [default: 4, with --lines 1]
    #[arg(long, value_name = "N", value_parser = job_count)]
    jobs: Option<NonZeroU16>,

    /// End a command that takes longer; the caller's deadline ends it anyway, unless the call is one way
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,

    /// Run the command once for each job and let it live: a line in and a line out for each call, nothing else, and flushed. One
    /// that dies is started again, and the call that it held ends with an error
    #[arg(long)]
    lines: bool,

    /// Let other processes offer the name, too; each call goes to the one with the fewest
    #[arg(long)]
    shared: bool,
}

/// Who answers.
enum Answerer {
    Once(Once),
    Lines(Lines),
}

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let program = Program::find(&self.command, self.name.as_str())?;
        let failed = |what, error| Problem::host(self.name.as_str(), what, &error);
        // Before any thread is made: threads inherit what is held back.
        let signals = Signals::require_sigchld()
            .and_then(|()| Signals::hold(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]))
            .map_err(|error| failed("cannot watch for signals", error))?;
        let quit = Bell::new().map_err(|error| failed("cannot make an eventfd", error))?;
        let answerer =
            self.answerer(program, globals, &quit).map_err(|error| failed("cannot start the workers", error))?;
        let shift = Shift { answerer: Arc::new(answerer), running: Arc::default(), quit };
        let outcome = self.serve(globals, &signals, &shift);
        shift.end();
        outcome.map(|()| Exit::SUCCESS)
    }

    fn answerer(&self, program: Program, globals: &Globals, quit: &Bell) -> std::io::Result<Answerer> {
        let log = if globals.loudness() == Loudness::Quiet { Log::Drop } else { Log::Pass };
        let timeout = self.timeout;
        if !self.lines {
            return Ok(Answerer::Once(Once { program, timeout, log, quit: quit.clone() }));
        }
        let plan = Plan { program, service: self.name.as_str(), timeout, log, quit };
        Lines::start(plan, self.jobs()).map(Answerer::Lines)
    }

    /// Registers, and answers until a signal comes or the service cannot go on.
    fn serve(&self, globals: &Globals, signals: &Signals, shift: &Shift) -> Result<()> {
        let host = host::watch(globals);
        let problem = |error| Problem::from_error(self.name.as_str(), &error);
        let serving = Arc::new(self.service(globals, shift)?.start().map_err(problem)?);
        globals.say(|| format!("{}: answering as {}", self.name, serving.peer()));
        let ended = Bell::new().map_err(|error| Problem::host(self.name.as_str(), "cannot make an eventfd", &error))?;
        let (watched, bell) = (serving.clone(), ended.clone());
        let watcher = thread::spawn(move || {
            let result = watched.wait();
            bell.ring();
            result
        });
        if let Ending::Asked = await_end(signals, &ended, host.as_ref()) {
            globals.say(|| format!("{}: finishing the calls that run", self.name));
            stop(&serving, signals, &ended, &shift.quit);
        }
        watcher.join().unwrap_or(Ok(())).map_err(problem)
    }

    fn service(&self, globals: &Globals, shift: &Shift) -> Result<Service> {
        let (answerer, running) = (shift.answerer.clone(), shift.running.clone());
        let answer = move |incoming: &Incoming, context: &Context| {
            let _entry = running.enter();
            answerer.answer(incoming, context)
        };
        let jobs = self.jobs();
        let mut service =
            Service::new(self.name.as_str()).agent(link::AGENT).threads(jobs.into()).window(jobs.into()).any(answer);
        if self.shared {
            service = service.shared();
        }
        if let Some(address) = globals.address()? {
            service = service.address(&address);
        }
        Ok(service)
    }

    /// A worker is one process with a memory: two of them would each know half.
    fn jobs(&self) -> u16 {
        self.jobs.map_or(if self.lines { 1 } else { 4 }, NonZeroU16::get)
    }
}

fn job_count(text: &str) -> std::result::Result<NonZeroU16, String> {
    text.parse().map_err(|_| format!("it is a number from 1 to {}", u16::MAX))
}

impl Answerer {
    fn answer(&self, incoming: &Incoming, context: &Context) -> std::result::Result<Response, Failed> {
        match self {
            Self::Once(once) => once.answer(incoming, context),
            Self::Lines(lines) => lines.answer(incoming, context),
        }
    }
}

/// What answers the calls, and what ends it.
struct Shift {
    answerer: Arc<Answerer>,
    running: Arc<Running>,
    quit: Bell,
}

impl Shift {
    /// Ends every command that still runs. When this returns none of them is left.
    fn end(&self) {
        self.quit.ring();
        self.running.wait_until_none();
        if let Answerer::Lines(lines) = &*self.answerer {
            lines.join();
        }
    }
}

/// Why serving ends.
enum Ending {
    /// A signal, or the end of the process whose private broker this is.
    Asked,
    /// The service cannot go on.
    Failed,
}

fn await_end(signals: &Signals, ended: &Bell, host: Option<&OwnedFd>) -> Ending {
    loop {
        let host = host.map(|host| host as _);
        let watched =
            [(Some(signals as _), Interest::Read), (Some(ended as _), Interest::Read), (host, Interest::Read)];
        match ready(watched, None) {
            Ok([_, true, _]) => return Ending::Failed,
            Ok([_, _, true]) | Err(_) => return Ending::Asked,
            Ok([true, ..]) if signals.take().is_some() => return Ending::Asked,
            Ok(_) => {}
        }
    }
}

/// Gives the name back and lets the calls that run end; the library waits 5 s for them. A second signal ends them at once.
fn stop(serving: &Arc<Serving>, signals: &Signals, ended: &Bell, quit: &Bell) {
    let serving = serving.clone();
    let stopper = thread::spawn(move || serving.stop());
    while let Ok([signalled, false]) =
        ready([(Some(signals as _), Interest::Read), (Some(ended as _), Interest::Read)], None)
    {
        if signalled && signals.take().is_some() {
            quit.ring();
        }
    }
    let _ = stopper.join(); // a panic there has been reported there
}
