//! `ipcctl chat`: two terminals, or two scripts, joined by a two-way stream.

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use ipc_client::{
    Change, Encoding, Error, ErrorCode, Failed, Request, Response, Service, ServiceName, Serving, Streams, Target,
};

use crate::{
    body::Source,
    duration,
    exit::Exit,
    globals::Globals,
    lines::Lines,
    out,
    problem::{Problem, Result},
    waiting::silent,
};

/// Talk with another one who gives the same NAME: each line of standard input appears on the other side, and the other way round.
///
/// The first one offers the name and waits, with -t no longer than that (124), the second one calls it. It ends for both when the input of
/// either ends: with 0, also for one who waits and whose input was empty. A third one gets 'busy'.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ipcctl chat lobby      # in two terminals")]
pub(crate) struct Args {
    /// Where to meet: the name of a service
    name: ServiceName,
}

/// How a conversation ended.
enum End {
    /// One side has said all.
    Finished,
    /// The stream has ended with an error.
    Broken(Error),
    /// Our input can't be read, or our output can't be written.
    Ours(Problem),
    /// Our input was empty. A conversation that has begun ends of itself then.
    Unsaid,
}

/// What stands on standard input. It is read from the start: without a word there is no reason to wait for another one.
struct Speech(Mutex<Script>);

struct Script {
    lines: Receiver<Result<Vec<u8>>>,
    /// Read, but not sent.
    kept: Option<Vec<u8>>,
}

/// The way to tell that the service has started, or hasn't.
type Start = std::result::Result<Serving, Error>;

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let (over, ended) = mpsc::channel();
        let host = |error| Problem::host(self.name.as_str(), "cannot start a thread", &error);
        let speech = Arc::new(Speech::begin(self.name.as_str(), over.clone()).map_err(host)?);
        for _ in 0..ATTEMPTS {
            match self.offer(globals, &speech, (&over, &ended))? {
                Some(end) => return self.exit(end, globals),
                None => match self.call(globals, speech.clone())? {
                    // Who offered the name has gone: now it is free.
                    End::Broken(error) if error.code() == ErrorCode::NO_SERVICE => {}
                    end => return self.exit(end, globals),
                },
            }
        }
        Err(Problem::new(ErrorCode::BUSY, self.name.as_str(), "others come and go under this name too quickly"))
    }

    /// Offers the name and talks with the first who calls. `None` if another process has it.
    fn offer(
        &self,
        globals: &Globals,
        speech: &Arc<Speech>,
        (over, ended): (&Sender<End>, &Receiver<End>),
    ) -> Result<Option<End>> {
        let is_taken = Arc::new(AtomicBool::new(false));
        let until = globals.timeout().and_then(|time| Instant::now().checked_add(time));
        let service = self.service(speech.clone(), over.clone(), is_taken.clone());
        let service = match globals.address()? {
            Some(address) => service.address(&address),
            None => service,
        };
        let serving = match self.start(service, globals)? {
            Ok(serving) => serving,
            Err(error) if error.code() == ErrorCode::NAME_TAKEN => return Ok(None),
            Err(error) => return Err(Problem::from_error(self.name.as_str(), &globals.explained(error))),
        };
        if io::stdin().is_terminal() {
            globals.say(|| format!("waiting for somebody under {}", self.name));
        }
        let end = loop {
            let left = until.filter(|_| !is_taken.load(Ordering::Relaxed));
            let left = left.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            match ended.recv_timeout(left) {
                Ok(End::Unsaid) if is_taken.swap(true, Ordering::Relaxed) => {} // the conversation ends of itself
                Ok(end) => break end,
                Err(_) if is_taken.swap(true, Ordering::Relaxed) => {}
                Err(_) => return Err(self.alone(globals)),
            }
        };
        drop(serving); // waits until our last line and the end have left
        Ok(Some(end))
    }

    fn service(&self, speech: Arc<Speech>, over: Sender<End>, is_taken: Arc<AtomicBool>) -> Service {
        let lost = over.clone();
        Service::new(self.name.as_str())
            .agent(&format!("ipcctl chat {}", self.name))
            .threads(2) // one talks, one turns others away
            .on_change(move |change| {
                if let Change::Lost(error) = change {
                    let _ = lost.send(End::Broken(error.clone())); // fails if it was left before
                }
            })
            .any_stream(move |_, mut items, mut sink, _| {
                if is_taken.swap(true, Ordering::Relaxed) {
                    return Err(Failed::busy("it talks with somebody else"));
                }
                let (told, end) = mpsc::channel();
                let said = told.clone();
                let speech = speech.clone();
                let listening = move || said.send(listen(&mut items));
                let talking = move || {
                    let end = speech.say(|encoding, line| sink.send(encoding, line));
                    end.map(|end| told.send(end))
                };
                let started = thread::Builder::new().spawn(listening).and(thread::Builder::new().spawn(talking));
                started.map_err(|error| Failed::busy(format!("it has no threads left: {error}")))?;
                let end = end.recv().unwrap_or(End::Finished);
                let _ = over.send(end); // fails if it was left before
                Ok(Response::bytes(""))
            })
    }

    /// Starts the service on a thread of its own, for a broker may not answer.
    fn start(&self, service: Service, globals: &Globals) -> Result<Start> {
        let Some(time) = globals.timeout() else { return Ok(service.start()) };
        let (teller, told) = mpsc::channel();
        let start = move || teller.send(service.start());
        let started = thread::Builder::new().spawn(start);
        started.map_err(|error| Problem::host(self.name.as_str(), "cannot start a thread", &error))?;
        told.recv_timeout(time.saturating_add(GRACE)).map_err(|_| silent(self.name.as_str(), globals, time))
    }

    fn alone(&self, globals: &Globals) -> Problem {
        let time = duration::display(globals.timeout().unwrap_or_default());
        Problem::new(ErrorCode::DEADLINE, self.name.as_str(), format!("no other one came within {time}"))
            .hint("-t sets the time")
    }

    /// Calls who offers the name.
    fn call(&self, globals: &Globals, speech: Arc<Speech>) -> Result<End> {
        let client = globals.client(&format!("chat {}", self.name), self.name.as_str())?;
        let target: Target = self.name.as_str().parse().map_err(|error: ipc_client::InvalidName| {
            Problem::usage(self.name.as_str(), error.to_string()) // a name is a target
        })?;
        let streams = Streams { request: true, reply: true };
        let call = match client.stream_bytes(Request::new(target, ""), streams) {
            Ok(call) => call,
            Err(error) => return Ok(End::Broken(error)),
        };
        let (mut up, mut down) = call.split();
        let (told, end) = mpsc::channel();
        let said = told.clone();
        let listening = move || {
            let end = match listen(&mut down) {
                End::Finished => down.end().map_or_else(End::Broken, |_| End::Finished),
                end => end,
            };
            said.send(end)
        };
        let talking = move || {
            match speech.say(|encoding, line| up.send_until(encoding, line, None, None)) {
                Some(End::Finished) => up.finish(), // the other side ends the call then
                Some(end) => drop(told.send(end)),
                None => {}
            }
        };
        let started = thread::Builder::new().spawn(listening).and(thread::Builder::new().spawn(talking));
        started.map_err(|error| Problem::host(self.name.as_str(), "cannot start a thread", &error))?;
        Ok(end.recv().unwrap_or(End::Finished))
    }

    fn exit(&self, end: End, globals: &Globals) -> Result<Exit> {
        match end {
            End::Finished | End::Unsaid => Ok(Exit::SUCCESS),
            // Of a conversation neither side cancels anything but by leaving.
            End::Broken(error) if error.code() == ErrorCode::CANCELLED => {
                Err(Problem::new(ErrorCode::SERVICE_GONE, self.name.as_str(), "the other one has left"))
            }
            // Who offers the name takes no streams both ways: it is no chat.
            End::Broken(error) if error.code() == ErrorCode::INVALID => {
                let message = format!("'{}' is a service, and nothing to talk with", self.name);
                Err(Problem::new(ErrorCode::INVALID, self.name.as_str(), message).hint("choose another name"))
            }
            End::Broken(error) => Err(Problem::from_error(self.name.as_str(), &globals.explained(error))),
            End::Ours(problem) => Err(problem),
        }
    }
}

/// Prints what the other side says, until it has said all.
fn listen(items: &mut impl Iterator<Item = std::result::Result<Response, Error>>) -> End {
    for item in items {
        let line = match item {
            Ok(item) => [&item.body, &b"\n"[..]].concat(),
            Err(error) => return End::Broken(error),
        };
        if let Err(problem) = out::payload(&line) {
            return End::Ours(problem);
        }
    }
    End::Finished
}

impl Speech {
    /// Starts to read. Tells `over` of an end before the first line.
    fn begin(name: &str, over: Sender<End>) -> io::Result<Self> {
        let (teller, lines) = mpsc::sync_channel(0);
        let name = name.to_owned();
        thread::Builder::new().spawn(move || read(&name, &teller, &over))?;
        Ok(Self(Mutex::new(Script { lines, kept: None })))
    }

    /// Says it, up to its end. `None`: nothing reaches the other side any more, and the end of the call says why.
    fn say(&self, mut send: impl FnMut(Encoding, Vec<u8>) -> std::result::Result<(), Error>) -> Option<End> {
        let mut script = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let line = match script.kept.take().map_or_else(|| script.lines.recv(), |line| Ok(Ok(line))) {
                Ok(Ok(line)) => line,
                Ok(Err(problem)) => return Some(End::Ours(problem)),
                Err(_) => return Some(End::Finished),
            };
            if send(Encoding::BYTES, line.clone()).is_err() {
                script.kept = Some(line);
                return None;
            }
        }
    }
}

/// Reads standard input up to its end, no further ahead than one line.
fn read(name: &str, teller: &SyncSender<Result<Vec<u8>>>, over: &Sender<End>) {
    let mut lines = match Lines::open(Source::Stdin, name) {
        Ok(lines) => lines,
        Err(problem) => return drop(teller.send(Err(problem))),
    };
    loop {
        match lines.next(name) {
            Ok(Some(line)) => {
                if teller.send(Ok(line)).is_err() {
                    return;
                }
            }
            Ok(None) if lines.number() == 0 => return drop(over.send(End::Unsaid)),
            Ok(None) => return,
            Err(problem) => return drop(teller.send(Err(problem))),
        }
    }
}

/// How much longer than -t a broker is given to say whether the name is free.
const GRACE: Duration = Duration::from_secs(1);
/// How often the one who has the name may go between two looks.
const ATTEMPTS: usize = 3;
