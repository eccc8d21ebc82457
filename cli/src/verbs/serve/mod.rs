//! `ipcctl serve`: make a service out of any command.

mod describe;
mod environment;
mod journal;
mod lines;
mod mcp;
mod offer;
mod once;
mod registration;
mod running;
mod shift;
mod streamed;
mod watch;

use std::{ffi::OsString, io, num::NonZeroU16, path::PathBuf, sync::Arc, time::Duration};

use ipc_client::{Bell, Description, ErrorCode, ServiceName};
use nix::sys::signal::Signal;

use self::{
    journal::{Journal, MOST_JOBS},
    lines::{Lines, Plan},
    mcp::{Server, Started},
    offer::Offer,
    once::Once,
    registration::Registration,
    running::Running,
    shift::{Answerer, Shift},
    streamed::Cut,
    watch::{Waiting, Watch},
};
use crate::{
    child::{guard::Guard, log::Log, verdict::ExitCodes},
    duration, escape,
    exit::Exit,
    format::Loudness,
    globals::Globals,
    host,
    problem::{Problem, Result},
    program::Program,
    signals::Signals,
};

/// Answer the calls of a name by running a command, once for each call.
///
/// The body is on the command's standard input and nowhere else; what it writes to standard output is the reply. Its environment
/// has IPC_SERVICE, IPC_METHOD, IPC_ENCODING (bytes or json), IPC_DEADLINE_MS (the time it has; empty for a one-way call),
/// IPC_PEER_UID, IPC_PEER_GID, IPC_PEER_PID (empty if unknown), and TRACEPARENT if the caller sent a valid one. Its standard error
/// is passed on (not with -q), and the last part of it is the text of an error.
///
/// When a call is cancelled or its time is over, its command gets TERM, and KILL half a second later, with all of its process
/// group. What is left of the group when the command has ended is killed, once nothing more comes from standard output.
///
/// Every method of the name is answered; 'serve text.upper' and 'serve text.lower' are two services of one method each.
///
/// A broker that is not there yet is waited for. When it goes away, the service tries until it is registered again, and says so.
#[derive(Debug, clap::Args)]
#[command(after_help = "The exit code of the command decides:
  0                 the reply
  1-63              app_error with this code, and the last part of standard error as its text
  65 67 75 77       invalid, no_method, busy, denied: the call has not run
  others, signals   internal
With --plain-exit all codes but 0 are app_error.

A body ends in a line break only if its caller sent one: the body of 'ipcctl send NAME hello' doesn't. 'while read' drops a \
last line without one and exits 0, so the reply is empty. This loop keeps the line:

Reading lines in a shell:
  while read -r line || [ -n \"$line\" ]; do ...; done

With --lines a program must write each line at once. Most of them keep it back when they write to a pipe, and the call runs into \
its deadline. The way out: sed -u, grep --line-buffered, jq --unbuffered, python3 -u, awk -W interactive (mawk) or fflush() \
(any awk), and stdbuf -oL CMD for other programs in C.

TERM, INT, HUP or QUIT: no more calls are taken, those that run have 5s to end, and the exit code is 0; a second one ends them \
at once. Other exit codes: 69 if there is no broker, 73 if the name is taken, 126 or 127 if there is no such command.

A file for --describe:
  about = 'texts in other shapes'
  [methods.\"\"]                     # the default method; others by their names
  about = 'the text in capitals'
  request = { text = 'string', times = 'integer?' }
  reply = 'string'
  example = { text = 'hello' }
  [events.'texts.changed']          # a topic on which the service publishes
  about = 'a text has changed'
  event = { text = 'string' }
Types: string, integer, number, bool, any, nothing, T? (may be missing), [T] (a list), {T} (an object of them). A field may be \
{ type = 'string', about = 'what it means' }. A method may have error, upload, download and one_way, too; a title; and hints for agents, \
such as hints = { read_only = true }, of read_only, destructive, idempotent and open_world. An example must fit the request.

With --mcp the tools of the server are the methods: 'ipcctl serve files --mcp -- SERVER DIR' offers what 'ipcctl show files' lists, and \
'ipcctl mcp files' gives it to any number of agents. That the server has died is told, with -v its return and what it writes that is no \
message, too.

Examples:
  ipcctl serve upper -- tr a-z A-Z
  ipcctl serve checksum --jobs 8 --timeout 1m -- sha256sum
  ipcctl serve trim --lines -- sed -u 's/^ *//'
  ipcctl serve squeeze --stream -- gzip -c
  ipcctl serve news --plain-exit -- git log --oneline -5
  ipcctl -v serve greet -- sh -c 'echo \"hello, user $IPC_PEER_UID\"'")]
pub(crate) struct Args {
    /// The name to offer: all of it is the service, its last label too
    name: ServiceName,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,

    /// Calls answered at once, up to 4096; further ones wait at the broker [default: 4, with --lines 1, with --mcp 16]
    #[arg(long, value_name = "N", value_parser = job_count)]
    jobs: Option<NonZeroU16>,

    /// End a command that takes longer; the caller's deadline ends it anyway, unless the call is one way
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,

    /// Start the command once for each job and keep it: a line in and a line out for each call, nothing else, and flushed. One
    /// that dies is started again, and its call ends with an error
    #[arg(long)]
    lines: bool,

    /// Answer calls with streams as well, each by a command of its own: the items of the caller are its standard input, and what it
    /// writes are items, sent as they are read. With --lines each line is an item. If the caller takes no items, it is the reply
    #[arg(long)]
    stream: bool,

    /// Say what the service is for: texts, fields and types of its methods, from a file in TOML or JSON, for 'ipcctl show' and for
    /// the completion of 'ipcctl send'
    #[arg(long, value_name = "FILE")]
    describe: Option<PathBuf>,

    /// The command is a server of the Model Context Protocol on its standard streams. It is started once, its tools are the methods,
    /// and all callers share it; one that dies is started again, and its tools are followed when they change
    #[arg(long, conflicts_with_all = ["lines", "stream", "describe", "plain_exit"])]
    mcp: bool,

    /// Let other processes offer the name, too; each call goes to the one with the fewest
    #[arg(long)]
    shared: bool,

    /// Answer app_error with the command's own exit code whenever that is not 0: for commands such as curl and git, whose codes
    /// have other meanings than those below
    #[arg(long, conflicts_with = "lines")]
    plain_exit: bool,

    /// How long to wait for a broker that is not there yet; 0s: not at all [default: -t, else 30s]
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, value_parser = patience)]
    wait: Option<Option<Duration>>,

    /// Do not wait for a broker
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
}

/// Signals that end a service.
const ENDING: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let program = Program::find(&self.command, self.name.as_str())?;
        // Before any thread is made: threads inherit what is held back.
        let signals = Signals::require_sigchld()
            .and_then(|()| Signals::hold(&ENDING))
            .map_err(|error| self.failed("cannot watch for signals", &error))?;
        let journal = Arc::new(Journal::new(self.name.as_str(), globals.loudness()));
        let shift = Arc::new(self.shift(program, globals, &journal)?);
        let outcome = match self.described(&signals, &shift) {
            Ok(Some(description)) => self.serve(globals, &signals, (&shift, journal), description),
            Ok(None) => Ok(()),
            Err(problem) => Err(problem),
        };
        shift.end();
        outcome?;
        signals.keep_holding(); // a second one may come when the first has done its work
        Ok(Exit::SUCCESS)
    }

    fn shift(&self, program: Program, globals: &Globals, journal: &Arc<Journal>) -> Result<Shift> {
        let quit = Bell::new().map_err(|error| self.failed("cannot make an eventfd", &error))?;
        let guard = Guard::start();
        let log = if globals.loudness() == Loudness::Quiet { Log::Drop } else { Log::Pass };
        let service = self.name.as_str();
        let plan = |program| Plan { program, service, timeout: self.timeout, log, journal, quit: &quit, guard: &guard };
        let answerer = if self.mcp {
            let server = Server::start(plan(program));
            Answerer::Mcp(server.map_err(|error| self.failed("cannot start a thread", &error))?)
        } else if self.keeps_workers() {
            let lines = Lines::start(&plan(program), self.jobs().min(MOST_JOBS));
            Answerer::Lines(lines.map_err(|error| self.failed("cannot start the workers", &error))?)
        } else {
            let codes = if self.plain_exit { ExitCodes::Plain } else { ExitCodes::Table };
            let (quit, guard) = (quit.clone(), guard.clone());
            Answerer::Once(Once { program, timeout: self.timeout, codes, log, quit, guard })
        };
        Ok(Shift { answerer, running: Running::default(), quit, guard })
    }

    /// What the service says of itself; none if a signal came before that was known.
    fn described(&self, signals: &Signals, shift: &Shift) -> Result<Option<Description>> {
        let Answerer::Mcp(server) = &shift.answerer else {
            let described = self.describe.as_deref().map(|path| describe::read(path, self.name.as_str()));
            return Ok(Some(described.transpose()?.unwrap_or_default()));
        };
        match server.started(signals) {
            Started::Ready(description) => Ok(Some(description)),
            Started::Interrupted => Ok(None),
            Started::Failed(reason) => Err(Problem::new(ErrorCode::INTERNAL, self.name.as_str(), reason)
                .hint("with --mcp the command must be a server of the Model Context Protocol on its standard streams")),
        }
    }

    /// Registers, and answers until a signal comes or the service can't go on.
    fn serve(
        &self,
        globals: &Globals,
        signals: &Signals,
        (shift, journal): (&Arc<Shift>, Arc<Journal>),
        description: Description,
    ) -> Result<()> {
        let offer = self.offer(globals, shift.clone(), journal.clone(), description)?;
        let patience = self.patience(globals);
        let registration = Registration::begin(patience, move || offer.service())
            .map_err(|error| self.failed("cannot start a thread", &error))?;
        let problem = |error| Problem::from_error(self.name.as_str(), &error);
        let mut watch = Watch { signals, host: host::watch(globals) };
        let waiting = Waiting {
            journal: &journal,
            patience,
            answer: globals.time.or(self.wait.flatten().map(|wait| wait + GRACE)),
        };
        let Some(polled) = waiting.registered(&registration, &mut watch).map_err(problem)? else { return Ok(()) };
        journal.registered(polled.peer());
        journal.jobs(polled.threads(), self.jobs());
        watch.serve(polled, shift, &journal).map_err(problem)
    }

    fn offer(
        &self,
        globals: &Globals,
        shift: Arc<Shift>,
        journal: Arc<Journal>,
        description: Description,
    ) -> Result<Offer> {
        Ok(Offer {
            name: self.name.clone(),
            description,
            agent: self.agent(),
            jobs: shift.jobs().unwrap_or(self.jobs()).min(MOST_JOBS),
            is_shared: self.shared,
            streams: (self.stream || self.mcp).then_some(if self.lines { Cut::Lines } else { Cut::AsItComes }),
            address: globals.address()?,
            shift,
            journal,
        })
    }

    /// What the list of peers shows: name and command line, up to a length.
    fn agent(&self) -> String {
        let words: Vec<_> = self.command.iter().map(|word| word.to_string_lossy()).collect();
        let whole = format!("ipcctl serve {}: {}", self.name, escape::line(&words.join(" ")));
        if whole.len() <= LONGEST_AGENT {
            return whole;
        }
        let end = whole.floor_char_boundary(LONGEST_AGENT - ELLIPSIS.len());
        format!("{}{ELLIPSIS}", &whole[..end])
    }

    /// How long to wait for a broker. An inherited connection is there or isn't.
    fn patience(&self, globals: &Globals) -> Duration {
        let is_inherited = globals.socket.clone().or_else(|| std::env::var_os("IPCD_SOCKET"));
        if self.no_wait || is_inherited.is_some_and(|socket| socket.to_string_lossy().starts_with("fd:")) {
            return Duration::ZERO;
        }
        self.wait.flatten().or(globals.time).unwrap_or(PATIENCE)
    }

    /// One worker by default: it may keep state, and two would each have half of it.
    fn jobs(&self) -> u16 {
        let default = if self.mcp {
            16
        } else if self.keeps_workers() {
            1
        } else {
            4
        };
        self.jobs.map_or(default, NonZeroU16::get)
    }

    fn keeps_workers(&self) -> bool {
        self.lines && !self.stream
    }

    fn failed(&self, what: &str, error: &io::Error) -> Problem {
        Problem::host(self.name.as_str(), what, error)
    }
}

fn job_count(text: &str) -> std::result::Result<NonZeroU16, String> {
    text.parse().map_err(|_| format!("it must be a number from 1 to {MOST_JOBS}"))
}

/// A duration, which may be zero.
fn patience(text: &str) -> std::result::Result<Duration, String> {
    let is_zero = text.strip_prefix('0').is_some_and(|unit| matches!(unit, "" | "s" | "ms"));
    if is_zero { Ok(Duration::ZERO) } else { duration::parse(text) }
}

/// How much longer than --wait a broker that is there may take to answer.
const GRACE: Duration = Duration::from_secs(1);
/// How long to wait for a broker by default.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes that the list of peers shows.
const LONGEST_AGENT: usize = 80;
const ELLIPSIS: &str = "…";
