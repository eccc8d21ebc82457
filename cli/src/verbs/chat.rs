//! `ipcctl chat`: two terminals, or two scripts, joined by a two-way stream.

use std::{
    io::{self, IsTerminal},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use ipc_client::{Encoding, Error, ErrorCode, Failed, Request, Response, Service, ServiceName, Streams, Target};

use crate::{
    body::Source,
    exit::Exit,
    globals::Globals,
    lines::Lines,
    out,
    problem::{Problem, Result},
};

/// Talk with another one who gives the same NAME: each line of standard input appears on the other side, and the other way round.
///
/// The first one offers the name and waits, the second one calls it. It ends for both when the input of either ends. A third one gets
/// 'busy'.
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
}

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        for _ in 0..ATTEMPTS {
            match self.offer(globals)? {
                Some(end) => return self.exit(end, globals),
                None => match self.call(globals)? {
                    // Who offered the name has gone: now it is free.
                    End::Broken(error) if error.code() == ErrorCode::NO_SERVICE => {}
                    end => return self.exit(end, globals),
                },
            }
        }
        Err(Problem::new(ErrorCode::BUSY, self.name.as_str(), "others come and go under this name too quickly"))
    }

    /// Offers the name and talks with the first who calls. `None` if another process has it.
    fn offer(&self, globals: &Globals) -> Result<Option<End>> {
        let (over, ended) = mpsc::channel();
        let is_taken = AtomicBool::new(false);
        let name = self.name.to_string();
        let service = Service::new(self.name.as_str())
            .agent(&format!("ipcctl chat {}", self.name))
            .threads(2) // one talks, one turns others away
            .any_stream(move |_, mut items, mut sink, _| {
                if is_taken.swap(true, Ordering::Relaxed) {
                    return Err(Failed::busy("it talks with somebody else"));
                }
                let (told, end) = mpsc::channel();
                let said = told.clone();
                let name = name.clone();
                let listening = move || said.send(listen(&mut items));
                let talking = move || {
                    let end = talk(&name, |encoding, line| sink.send(encoding, line));
                    end.map(|end| told.send(end))
                };
                let started = thread::Builder::new().spawn(listening).and(thread::Builder::new().spawn(talking));
                started.map_err(|error| Failed::busy(format!("it has no threads left: {error}")))?;
                let end = end.recv().unwrap_or(End::Finished);
                let _ = over.send(end); // fails if it was left before
                Ok(Response::bytes(""))
            });
        let service = match globals.address()? {
            Some(address) => service.address(&address),
            None => service,
        };
        let serving = match service.start() {
            Ok(serving) => serving,
            Err(error) if error.code() == ErrorCode::NAME_TAKEN => return Ok(None),
            Err(error) => return Err(Problem::from_error(self.name.as_str(), &globals.explained(error))),
        };
        if io::stdin().is_terminal() {
            globals.say(|| format!("waiting for somebody under {}", self.name));
        }
        let end = ended.recv().unwrap_or(End::Finished);
        drop(serving); // waits until our last line and the end have left
        Ok(Some(end))
    }

    /// Calls who offers the name.
    fn call(&self, globals: &Globals) -> Result<End> {
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
        let (said, name) = (told.clone(), self.name.to_string());
        let listening = move || {
            let end = match listen(&mut down) {
                End::Finished => down.end().map_or_else(End::Broken, |_| End::Finished),
                end => end,
            };
            said.send(end)
        };
        let talking = move || {
            match talk(&name, |encoding, line| up.send_until(encoding, line, None, None)) {
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
            End::Finished => Ok(Exit::SUCCESS),
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

/// Says what stands on standard input, up to its end. `None`: nothing reaches the other side any more, and the end of the call
/// says why.
fn talk(name: &str, mut send: impl FnMut(Encoding, Vec<u8>) -> std::result::Result<(), Error>) -> Option<End> {
    let mut lines = match Lines::open(Source::Stdin, name) {
        Ok(lines) => lines,
        Err(problem) => return Some(End::Ours(problem)),
    };
    loop {
        match lines.next(name) {
            Ok(Some(line)) => send(Encoding::BYTES, line).ok()?,
            Ok(None) => return Some(End::Finished),
            Err(problem) => return Some(End::Ours(problem)),
        }
    }
}

/// How often the one who has the name may go between two looks.
const ATTEMPTS: usize = 3;
