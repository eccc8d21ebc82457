//! `ipcctl subscribe`: print events, or run a command for each.

mod crew;
mod merged;
mod outside;
mod printer;

use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    num::NonZeroU64,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use ipc_client::{Client, ErrorCode, Event, Notice, Pattern, control::Keeping, poll::PollFlags};
use nix::sys::signal::Signal;
use serde::Serialize;

use self::{
    crew::Crew,
    merged::Merged,
    outside::{End, Outside},
    printer::Printer,
};
use crate::{
    child::{group::Stderr, log::Log},
    duration, escape,
    exit::Exit,
    format::{Format, Loudness},
    globals::Globals,
    host,
    number::within,
    problem::{Problem, Result},
    program::Program,
    signals::Signals,
    term::reason,
};

/// Print the events whose topics match, a line each, as soon as they come.
///
/// A line is the body with one line break at its end, a JSON document in one line. A body of several lines is not printed, and
/// standard error says so: it could not be told from several events. With -o json a line is a JSON document with the topic, the
/// publisher as the broker knows it, its number of the event, and any body. An event that matches several patterns comes once for each.
///
/// Events that this process doesn't take in time are lost; standard error says how many, with -o json a line {"gap":N}. After a
/// restart of the broker it subscribes again, and says so in the same way, with -o json as {"resumed":true}.
///
/// It ends after -n events with 0, after -t with 0 too, but with 124 if fewer than -n events have come by then, or none without -n.
/// TERM and HUP end it with 0 unless it still waits for -n events.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "With --exec, CMD runs once for each event, with the body on its standard input and nowhere else. Its \
environment has IPC_TOPIC, IPC_PUBLISHER_UID, IPC_PUBLISHER_GID, IPC_PUBLISHER_PID, IPC_SEQUENCE (empty if unknown), IPC_ENCODING \
(bytes or json), IPC_RETAINED (1 or empty), and TRACEPARENT if the publisher sent a valid one. What is left of its process group when \
it has ended is killed. An exit code other than 0 is told on standard error. TERM, INT or HUP: the commands that run have 5s to \
end; a second one ends them at once.

Examples:
  ipcctl subscribe news.
  ipcctl subscribe home.kitchen. --last -n 1 -t 5s
  ipcctl subscribe log. alarm. -o json | jq -r .topic
  ipcctl subscribe build.done --jobs 4 --exec sh -c 'deploy \"$IPC_TOPIC\"'"
)]
pub(crate) struct Args {
    /// Which topics: a name, 'a.*' (one more label), 'a.**' (all below), 'a.' (the same, and needs no quotes)
    #[arg(required = true, value_name = "PATTERN")]
    patterns: Vec<Pattern>,

    /// End after this many events
    #[arg(short = 'n', value_name = "COUNT", value_parser = count)]
    count: Option<NonZeroU64>,

    /// First the last event of each topic that the broker has kept
    #[arg(long)]
    last: bool,

    /// What is lost if this process is too slow: drop-oldest, drop-newest, latest (keeps one of each topic) or cut (the connection)
    #[arg(long, value_enum, value_name = "POLICY", default_value = "drop-oldest", hide_possible_values = true)]
    policy: Policy,

    /// Events of each pattern that wait for this process at most, at the broker and once more here; the broker may allow fewer
    #[arg(long, value_name = "N", default_value = "1024", value_parser = |text: &str| within(text, 1..=u32::MAX))]
    queue: u32,

    /// Commands that run at once; with 1, the events are taken in order
    #[arg(long, value_name = "N", requires = "exec", value_parser = |text: &str| within(text, 1..=1024_u16))]
    jobs: Option<u16>,

    /// Run a command for each event instead of printing it. The last option: all that follows is the command
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true)]
    exec: Option<Vec<OsString>>,
}

/// Which events are lost.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Policy {
    DropOldest,
    DropNewest,
    Latest,
    Cut,
}

impl From<Policy> for Keeping {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::DropOldest => Self::DropOldest,
            Policy::DropNewest => Self::DropNewest,
            Policy::Latest => Self::Latest,
            Policy::Cut => Self::Cut,
        }
    }
}

/// Signals that end it.
const ENDING: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let began = Instant::now();
        let subject = self.subject();
        let failed = |what: &str, error: &io::Error| Problem::host(subject.as_str(), what, error);
        let crew = self.crew(globals, &subject)?;
        let client = globals.client(&format!("subscribe {subject}"), &subject)?;
        // A broker that doesn't answer is waited for while signals still end us.
        let greeted = client.ping_within(globals.deadline());
        greeted.map_err(|error| Problem::from_error(subject.as_str(), &globals.explained(error)))?;
        // Before any thread is made: threads inherit what is held back.
        let signals = Signals::hold(&ENDING).map_err(|error| failed("cannot watch for signals", &error))?;
        let until = globals.timeout().and_then(|time| began.checked_add(time));
        let outside = Outside { signals, host: host::watch(globals), until };
        let events = Merged::new(self.subscribe(&client, globals)?);
        globals.say(|| format!("subscribed to {subject}"));
        let sink = match crew {
            Some((program, jobs, stderr)) => Sink::Commands(
                Crew::new(program, jobs, stderr).map_err(|error| failed("cannot make an eventfd", &error))?,
            ),
            None => Sink::Lines(Printer::new(globals.format)),
        };
        let patterns = self.patterns.iter().map(Pattern::to_string).collect();
        let mut reader = Reader {
            patterns,
            events,
            sink,
            outside,
            globals,
            is_cutting: matches!(self.policy, Policy::Cut),
            wanted: self.count.map(NonZeroU64::get),
            taken: 0,
            late: None,
        };
        let end = reader.read()?;
        let exit = reader.exit(end, &subject);
        reader.outside.signals.keep_holding();
        exit
    }

    /// All patterns in a few words.
    fn subject(&self) -> String {
        match self.patterns.as_slice() {
            [first, _, rest @ ..] => format!("{first} and {} more", rest.len() + 1),
            patterns => patterns.iter().map(Pattern::to_string).collect(),
        }
    }

    fn crew(&self, globals: &Globals, subject: &str) -> Result<Option<(Program, u16, Stderr)>> {
        let Some(command) = self.exec.as_deref() else { return Ok(None) };
        let command = command.strip_prefix(&["--".into()]).unwrap_or(command);
        let program = Program::find(command, subject)?;
        Signals::require_sigchld().map_err(|error| Problem::host(subject, "cannot watch for signals", &error))?;
        let stderr = if globals.loudness() == Loudness::Quiet { Stderr::Null } else { Stderr::Inherit };
        Ok(Some((program, self.jobs.unwrap_or(1), stderr)))
    }

    fn subscribe(&self, client: &Client, globals: &Globals) -> Result<Vec<ipc_client::Watched>> {
        let started = self.patterns.iter().map(|pattern| {
            let settings = client.subscription(pattern.as_str()).policy(self.policy.into()).queue(self.queue);
            let settings = if self.last { settings.last() } else { settings };
            let watched = settings.start().and_then(ipc_client::Subscription::watched);
            watched.map_err(|error| {
                let is_one_of_many = error.code() == ErrorCode::BUSY && self.patterns.len() > 1;
                let problem = Problem::from_error(pattern.as_str(), &globals.explained(error));
                if is_one_of_many { problem.hint("use fewer patterns, or wider ones such as 'a.**'") } else { problem }
            })
        });
        started.collect()
    }
}

/// Where events go.
enum Sink {
    Lines(Printer),
    Commands(Crew),
}

/// Takes events until something ends it.
struct Reader<'a> {
    /// As on the command line.
    patterns: Vec<String>,
    events: Merged,
    sink: Sink,
    outside: Outside,
    globals: &'a Globals,
    /// Whether the broker ends a subscription that is too slow.
    is_cutting: bool,
    wanted: Option<u64>,
    taken: u64,
    /// What came before the time was over, and is still taken then.
    late: Option<VecDeque<(usize, Notice)>>,
}

/// A gap, or a return, in JSON.
#[derive(Serialize)]
struct News<'a> {
    pattern: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed: Option<bool>,
}

impl Reader<'_> {
    /// `None`: all events that are wanted have come.
    fn read(&mut self) -> Result<Option<End>> {
        loop {
            let may_have_more = self.take_what_is_there()?;
            if let Sink::Lines(printer) = &mut self.sink
                && let Some(end) = printer.flush(&self.outside)?
            {
                return Ok(Some(end));
            }
            if self.is_done() {
                return Ok(self.finish(None));
            }
            let at_most = may_have_more.then(Instant::now);
            if self.late.as_ref().is_some_and(VecDeque::is_empty) {
                return Ok(self.finish(Some(End::Time)));
            }
            if let Some(end) = self.wait(at_most)? {
                if end == End::Time && self.keeps_what_is_here() {
                    continue;
                }
                return Ok(self.finish(Some(end)));
            }
        }
    }

    /// When the time is over, commands may be too slow for events that came before: those are still taken if -n waits for them.
    fn keeps_what_is_here(&mut self) -> bool {
        let Sink::Commands(_) = self.sink else { return false };
        let Some(wanted) = self.wanted else { return false };
        let most = usize::try_from(wanted - self.taken).unwrap_or(MOST_LATE).min(MOST_LATE);
        // An error comes again, and is told by the one who asks next.
        let late: VecDeque<_> = std::iter::from_fn(|| self.events.next().ok().flatten()).take(most).collect();
        let keeps = !late.is_empty();
        if keeps {
            self.outside.until = None;
            self.late = Some(late);
        }
        keeps
    }

    /// Takes events, but no more at once than a signal can wait for. Returns whether there may be more.
    fn take_what_is_there(&mut self) -> Result<bool> {
        for _ in 0..TURN {
            if self.is_done() || !self.has_room() {
                return Ok(false);
            }
            let next = match &mut self.late {
                Some(late) => Ok(late.pop_front()),
                None => self.events.next(),
            };
            match next {
                Ok(Some((at, notice))) => self.tell(at, notice),
                Ok(None) => return Ok(false),
                Err((at, error)) => {
                    let is_slow = self.is_cutting && error.code() == ErrorCode::BUSY;
                    let problem = Problem::from_error(&self.patterns[at], &self.globals.explained(error));
                    return Err(if is_slow { problem.hint("--queue sets how many may wait") } else { problem });
                }
            }
        }
        Ok(true)
    }

    fn tell(&mut self, at: usize, notice: Notice) {
        match notice {
            Notice::Event(event) => self.take(event),
            Notice::Gap(lost) => {
                let events = if lost == 1 { "1 event".to_owned() } else { format!("{lost} events") };
                let text = format!("lost {events} (they came faster than they were taken)");
                self.inform(&News { pattern: &self.patterns[at].clone(), gap: Some(lost), resumed: None }, &text);
            }
            Notice::Resumed => {
                let text = "subscribed again (events that were published meanwhile are lost)";
                self.inform(&News { pattern: &self.patterns[at].clone(), gap: None, resumed: Some(true) }, text);
            }
            _ => {} // what later versions of the library tell
        }
    }

    fn take(&mut self, event: Event) {
        let topic = event.topic.clone();
        let outcome = match &mut self.sink {
            Sink::Lines(printer) => match printer.event(&event) {
                true => Ok(()),
                false => Err("an event of several lines is not printed (-o json prints any)".to_owned()),
            },
            Sink::Commands(crew) => {
                crew.start(event).map_err(|error| format!("no command has run: {}", reason(&error)))
            }
        };
        match outcome {
            Ok(()) => self.taken += 1,
            Err(text) => self.say(topic.as_str(), &text),
        }
    }

    fn is_done(&self) -> bool {
        self.wanted.is_some_and(|wanted| self.taken >= wanted)
    }

    fn has_room(&self) -> bool {
        match &self.sink {
            Sink::Lines(printer) => !printer.is_full(),
            Sink::Commands(crew) => crew.has_room(),
        }
    }

    /// Waits for events, if there is room for one, for a command that ends, and for a reader that goes.
    fn wait(&mut self, at_most: Option<Instant>) -> Result<Option<End>> {
        let has_room = self.has_room();
        let mut awaited: Vec<_> = match has_room {
            true => self.events.descriptors().map(|fd| (fd, PollFlags::IN)).collect(),
            false => vec![],
        };
        let own = match &self.sink {
            Sink::Lines(printer) => (printer.stdout().as_fd(), PollFlags::empty()), // errors are told unasked
            Sink::Commands(crew) => (crew.ended(), PollFlags::IN),
        };
        awaited.push(own);
        let waited = self.outside.wait(&awaited, at_most);
        let (ready, end) = waited.map_err(|error| Problem::host("", "cannot wait for events", &error))?;
        let is_own_ready = ready.last().is_some_and(|flags| !flags.is_empty());
        match &self.sink {
            Sink::Lines(_) if is_own_ready => return Err(Problem::output(&io::ErrorKind::BrokenPipe.into())),
            Sink::Commands(_) if is_own_ready => self.tell_how_commands_ended(),
            _ => {}
        }
        Ok(end)
    }

    /// Lets the commands that run end: after the last event they have as long as they need, but 5 s once there is another reason to
    /// end. A second one ends them at once.
    fn finish(&mut self, mut end: Option<End>) -> Option<End> {
        let mut leave_at = end.map(|_| self.begin_to_leave());
        while let Sink::Commands(crew) = &self.sink
            && !crew.is_idle()
        {
            let waited = self.outside.wait(&[(crew.ended(), PollFlags::IN)], leave_at);
            match waited {
                Ok((_, None)) if leave_at.is_none_or(|at| at > Instant::now()) => {}
                Ok((_, Some(reason))) if end.is_none() => {
                    end = Some(reason);
                    leave_at = Some(self.begin_to_leave());
                }
                Ok(_) | Err(_) => {
                    crew.quit();
                    leave_at = None;
                }
            }
            self.tell_how_commands_ended();
        }
        end
    }

    /// From now on nothing but signals counts: the others stay as they are. Returns when commands that still run are ended.
    fn begin_to_leave(&mut self) -> Instant {
        self.outside.until = None;
        self.outside.host = None;
        Instant::now() + TIME_TO_FINISH
    }

    fn tell_how_commands_ended(&mut self) {
        let Sink::Commands(crew) = &mut self.sink else { return };
        for report in crew.reports() {
            if let Some(complaint) = report.complaint {
                self.say(report.topic.as_str(), &complaint);
            }
        }
    }

    fn exit(&self, end: Option<End>, subject: &str) -> Result<Exit> {
        let is_short = self.wanted.is_some() && !self.is_done();
        match end {
            None => Ok(Exit::SUCCESS),
            Some(End::Signal(Signal::SIGINT)) => Ok(Exit::Signal(Signal::SIGINT)),
            Some(End::Signal(signal)) if is_short => Ok(Exit::Signal(signal)),
            Some(End::Host) if is_short => {
                Err(Problem::new(ErrorCode::BROKER_LOST, subject, "the broker has ended, and no events will come"))
            }
            Some(End::Signal(_) | End::Host) => Ok(Exit::SUCCESS),
            Some(End::Time) if is_short || self.taken == 0 => Err(self.too_few(subject)),
            Some(End::Time) => Ok(Exit::SUCCESS),
        }
    }

    fn too_few(&self, subject: &str) -> Problem {
        let time = duration::display(self.globals.timeout().unwrap_or_default());
        let message = match (self.taken, self.wanted) {
            (0, _) => format!("no event came within {time}"),
            (taken, Some(wanted)) => format!("{taken} of {wanted} events came within {time}"),
            (taken, None) => format!("{taken} events came within {time}"),
        };
        Problem::new(ErrorCode::DEADLINE, subject, message).hint("-t sets the time")
    }

    /// Tells of something between two events: among them in JSON, else on standard error. The output of commands is theirs alone.
    fn inform(&mut self, news: &News<'_>, text: &str) {
        match (&mut self.sink, self.globals.format) {
            (_, Format::Text) => self.say(news.pattern, text),
            (Sink::Lines(printer), Format::Json) => printer.line(&news.line()),
            (Sink::Commands(_), Format::Json) if self.globals.loudness() == Loudness::Quiet => {}
            (Sink::Commands(_), Format::Json) => Log::Pass.pass(&news.line()),
        }
    }

    /// Says something on standard error; if its reader is too slow, it is lost rather than an event delayed.
    fn say(&self, subject: &str, text: &str) {
        if self.globals.loudness() > Loudness::Quiet {
            let line = match self.globals.format {
                Format::Text => format!("ipcctl: {}: {}\n", escape::line(subject), escape::line(text)),
                Format::Json => Problem::own("failed", 125, subject, text).line(Format::Json),
            };
            Log::Pass.pass(line.as_bytes());
        }
    }
}

impl News<'_> {
    fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("strings and numbers always serialize");
        line.push(b'\n');
        line
    }
}

fn count(text: &str) -> std::result::Result<NonZeroU64, String> {
    text.parse().map_err(|_| format!("it must be a number from 1 to {}", u64::MAX))
}

/// Events that are taken at most after the time is over.
const MOST_LATE: usize = 1024;
/// Events taken before signals and the time are looked at again.
const TURN: usize = 256;
/// How long commands may take after a signal, as under `serve`.
const TIME_TO_FINISH: Duration = Duration::from_secs(5);
