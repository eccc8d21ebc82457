//! `ipcctl rpc`: standard input and output as a connection to the broker, in JSON-RPC.

mod due;
mod feed;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

use ipc_client::{
    Error, ErrorCode, Retry,
    poll::{self, PollFd, PollFlags},
};
use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown},
};

use self::feed::Feed;
use crate::{
    exit::Exit,
    globals::Globals,
    out,
    problem::{Problem, Result},
};

/// Connect standard input and output to the broker, which speaks JSON-RPC 2.0: a request goes in, its answer comes out as one line.
///
/// What comes from standard input is sent as it is, and what the broker sends is printed as it is; docs/json-rpc.md says what that means.
/// Two things the broker can't be asked: input that doesn't begin with a message, and one that it ends within. Both are answered here, as the
/// broker answers what isn't JSON: with -32700 and the id null.
///
/// At the end of standard input it waits for the answers that are still due. With a subscription, or a service, it goes on until it is
/// ended, or the broker ends. -t limits both: it is the time from the end of the input.
///
/// The exit code is 0 whatever the answers say. It is 74 if the broker goes away before the input has ended, and 124 if -t is over and an
/// answer is still due.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ipcctl rpc < requests\n  ipcctl rpc -t 10s < subscriptions    # prints events for 10 seconds\n  echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ipc.list\"}' | ipcctl rpc"
)]
pub(crate) struct Args {}

/// A connection, with what was read for it and is not sent yet.
struct Pipe {
    socket: OwnedFd,
    unsent: Vec<u8>,
    feed: Feed,
    /// Whether standard input has ended, and the broker knows.
    ended: bool,
    /// When to give up, once it has.
    until: Option<Instant>,
}

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let socket = globals.dial("rpc")?.socket().map_err(|error| Problem::from_error("rpc", &error))?;
        globals.say(|| format!("connected to the broker at {}", globals.place()));
        let mut pipe = Pipe { socket, unsent: Vec::new(), feed: Feed::new(), ended: false, until: None };
        loop {
            let [has_input, has_output, takes_more] =
                pipe.wait().map_err(|error| Problem::host("rpc", "poll", &error))?;
            if !(has_input || has_output || takes_more) {
                return pipe.time_is_over();
            }
            if has_output && !pipe.print()? {
                return pipe.end();
            }
            if takes_more {
                pipe.send();
            }
            if has_input && pipe.read()? {
                pipe.until = globals.timeout().and_then(|time| Instant::now().checked_add(time));
            }
        }
    }
}

impl Pipe {
    /// Whether there is input, whether there is output, and whether the broker takes more. None of them if the time is over.
    fn wait(&self) -> io::Result<[bool; 3]> {
        let stdin = io::stdin();
        let is_full = !self.unsent.is_empty();
        let out = if is_full { PollFlags::OUT } else { PollFlags::empty() };
        let mut fds = vec![PollFd::new(&self.socket, PollFlags::IN | out)];
        if !self.ended && !is_full {
            fds.push(PollFd::new(&stdin, PollFlags::IN));
        }
        poll::wait(&mut fds, self.until)?;
        let socket = fds.first().map_or(PollFlags::empty(), PollFd::revents);
        let input = fds.get(1).map_or(PollFlags::empty(), PollFd::revents);
        Ok([
            !input.is_empty(),
            socket.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
            socket.contains(PollFlags::OUT),
        ])
    }

    /// Prints what the broker has sent. False at its end.
    fn print(&mut self) -> Result<bool> {
        let mut bytes = [0; PIECE];
        match recv(&self.socket, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Ok(false),
            Ok((len, _)) => {
                let bytes = bytes.get(..len).unwrap_or_default();
                out::payload(bytes)?;
                self.feed.due().received(bytes);
                Ok(true)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(true),
            Err(_) => Ok(false),
        }
    }

    /// Reads a piece of standard input. Whether it has ended.
    fn read(&mut self) -> Result<bool> {
        let mut bytes = [0; PIECE];
        match rustix::io::read(io::stdin().as_fd(), &mut bytes) {
            Ok(0) => {
                self.ended = true;
                let _ = shutdown(&self.socket, Shutdown::Write); // fails if the broker has gone, which shows next
                return Ok(true);
            }
            Ok(len) => {
                let (sent, refused) = self.feed.take(bytes.get(..len).unwrap_or_default());
                self.unsent.extend_from_slice(sent);
                out::print(&malformed("this is not JSON").repeat(refused))?;
                self.send();
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(Problem::host("stdin", "read", &error.into())),
        }
        Ok(false)
    }

    fn send(&mut self) {
        if self.unsent.is_empty() {
            return;
        }
        match send(&self.socket, &self.unsent, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(len) => drop(self.unsent.drain(..len)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.unsent.clear(), // the broker's reason can still be read
        }
    }

    /// The time is over. Without answers that are due it was the time to listen: to events, or for calls.
    fn time_is_over(&mut self) -> Result<Exit> {
        let text = match self.feed.due().count() {
            0 => return Ok(Exit::SUCCESS),
            1 => "an answer is still due".to_owned(),
            due => format!("{due} answers are still due"),
        };
        Err(Problem::new(ErrorCode::DEADLINE, "rpc", text))
    }

    /// The broker has closed the connection.
    fn end(&self) -> Result<Exit> {
        if self.ended {
            if self.feed.is_within() {
                out::print(&malformed("the input ends within a message"))?;
            }
            return Ok(Exit::SUCCESS);
        }
        let error =
            Error::new(ErrorCode::BROKER_LOST, "the broker has closed the connection").with_retry(Retry::Unknown);
        Err(Problem::from_error("rpc", &error))
    }
}

/// The line that answers what is no message.
fn malformed(message: &str) -> String {
    let data = r#"{"name":"usage","retry":"safe"}"#;
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{{\"code\":-32700,\"message\":\"{message}\",\"data\":{data}}}}}\n"
    )
}

/// Bytes that are read at a time.
const PIECE: usize = 64 * 1024;
