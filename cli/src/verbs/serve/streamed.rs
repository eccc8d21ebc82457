//! Answers to calls with streams (`--stream`): items go into the command's standard input, what it writes are items.
//!
//! ```text
//!   items of the caller ─► thread ─► stdin ┌─────────┐ stdout ─► this thread ─► items for the caller
//!                                          │ command │
//!                                          └─────────┘
//! ```
//!
//! Who takes slowly makes the other wait: a full pipe stops the thread, which gives the caller no more credit; a caller that gives none
//! stops us, and a full pipe the command.

use std::{
    io::{self, PipeReader, PipeWriter, Read, Write},
    process::ExitStatus,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ipc_client::{
    Bell, Context, Encoding, ErrorCode, Failed, Incoming, ItemsBytes, Response, SinkBytes, limits::MAX_BODY,
};

use super::{
    environment,
    once::{Once, cancel_bell, cannot_start, check_encoding, internal},
};
use crate::child::{
    GRACE, Interest,
    group::{Leader, Pipes, Stderr, Stdout, Surroundings},
    job::{Finished, Stop, drain},
    log::Log,
    ready,
    tail::Tail,
    verdict,
};

/// What is one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// What is read at once.
    AsItComes,
    /// A line, without its line break.
    Lines,
}

impl Once {
    /// Answers a call with streams. Returns when the command's whole process group is gone.
    pub(crate) fn answer_stream(
        &self,
        cut: Cut,
        incoming: &Incoming,
        (items, sink): (ItemsBytes, SinkBytes),
        context: &Context,
    ) -> Result<Response, Failed> {
        check_encoding(incoming.encoding)?;
        let cancel = cancel_bell(context)?;
        let until = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut recipe = self.program.recipe();
        environment::of_call(&mut recipe, incoming, context.caller(), until);
        let surroundings = Surroundings { stdout: Stdout::Pipe, stderr: Stderr::Pipe, guard: self.guard.clone() };
        let (leader, Pipes { stdin, stdout, stderr }) =
            Leader::start(recipe, &surroundings).map_err(|error| cannot_start(&self.program, &error))?;
        let body = incoming.body.clone();
        // It ends with the call, or when the command closes its input: nothing waits for it.
        let feeder = thread::Builder::new().spawn(move || drop(feed(stdin, &body, items, cut)));
        feeder.map_err(|error| internal(&error))?;
        let complaint = Complaint::read(stderr, self.log).map_err(|error| internal(&error))?;
        let run = Run { leader, stdout, complaint, unsent: Vec::new(), sink, is_taken: true, reply: Vec::new(), cut };
        let finished = run.finish(incoming.encoding, [&cancel, &self.quit], until).map_err(|error| internal(&error))?;
        verdict::of(finished, incoming.encoding, self.codes)
    }
}

/// A command whose output goes to the caller.
struct Run {
    leader: Leader,
    stdout: Option<PipeReader>,
    complaint: Complaint,
    /// The start of a line.
    unsent: Vec<u8>,
    sink: SinkBytes,
    /// Whether the caller takes items; else the output is the reply.
    is_taken: bool,
    reply: Vec<u8>,
    cut: Cut,
}

impl Run {
    fn finish(mut self, asked: Encoding, [cancel, quit]: [&Bell; 2], until: Option<Instant>) -> io::Result<Finished> {
        let mut silent_at = None;
        let mut stop = None;
        while stop.is_none() && self.stdout.is_some() {
            let watched = [
                (self.stdout.as_ref().map(|pipe| pipe as _), Interest::Read),
                (silent_at.is_none().then_some(self.leader.exit() as _), Interest::Read),
                (Some(cancel as _), Interest::Read),
                (Some(quit as _), Interest::Read),
            ];
            let [output, exited, cancelled, quit] = ready(watched, until.into_iter().chain(silent_at).min())?;
            let now = Instant::now();
            if exited || (output && silent_at.is_some()) {
                silent_at = Some(now + SILENCE);
            }
            stop = match (output, cancelled, quit) {
                (_, true, _) => Some(Stop::Cancelled),
                (_, _, true) => Some(Stop::Quit),
                (true, ..) => self.pass(asked),
                _ if until.is_some_and(|until| until <= now) => Some(Stop::OutOfTime),
                _ if silent_at.is_some_and(|at| at <= now) => break,
                _ => None,
            };
        }
        if stop.is_none() && !self.unsent.is_empty() {
            let rest = std::mem::take(&mut self.unsent);
            stop = self.send(asked, rest);
        }
        let status = self.end(stop)?;
        Ok(Finished { status, stop, reply: self.reply, complaint: self.complaint.text() })
    }

    /// Waits for the command, which has closed its output or is asked to end.
    fn end(&mut self, stop: Option<Stop>) -> io::Result<ExitStatus> {
        if stop.is_some() {
            self.leader.ask_to_end();
            ready([(Some(self.leader.exit() as _), Interest::Read)], Some(Instant::now() + GRACE))?;
        } else {
            ready([(Some(self.leader.exit() as _), Interest::Read)], None)?;
        }
        self.leader.end()
    }

    /// Passes on what is in the pipe.
    fn pass(&mut self, asked: Encoding) -> Option<Stop> {
        let mut piece = vec![0; PIECE];
        match self.stdout.as_mut().map(|pipe| pipe.read(&mut piece)) {
            Some(Ok(len @ 1..)) => piece.truncate(len),
            Some(Err(error)) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return None;
            }
            Some(Ok(0) | Err(_)) | None => {
                self.stdout = None;
                return None;
            }
        }
        if self.cut == Cut::AsItComes {
            return self.send(asked, piece);
        }
        let end = piece.iter().rposition(|byte| *byte == b'\n');
        let rest = piece.split_off(end.map_or(0, |end| end + 1));
        if piece.pop().is_some() {
            let mut lines = std::mem::replace(&mut self.unsent, rest);
            lines.append(&mut piece);
            return self.send_lines(asked, &Bytes::from(lines));
        }
        self.unsent.extend_from_slice(&rest);
        (self.unsent.len() > MAX_BODY as usize).then_some(Stop::TooMuch)
    }

    /// Sends lines that came together, with as few writes as their encodings allow.
    fn send_lines(&mut self, asked: Encoding, lines: &Bytes) -> Option<Stop> {
        let lines = lines.split(|byte| *byte == b'\n').map(|line| lines.slice_ref(line));
        let items: Vec<Response> = lines.map(|line| verdict::reply(line, asked)).collect();
        items.chunk_by(|one, next| one.encoding == next.encoding).find_map(|alike| self.send_all(alike))
    }

    fn send(&mut self, asked: Encoding, item: Vec<u8>) -> Option<Stop> {
        // A piece may look like a JSON document, which is nothing but chance.
        let asked = if self.cut == Cut::Lines { asked } else { Encoding::BYTES };
        self.send_all(&[verdict::reply(item.into(), asked)])
    }

    /// Sends items of one encoding.
    fn send_all(&mut self, items: &[Response]) -> Option<Stop> {
        let bodies: Vec<Bytes> = items.iter().map(|item| item.body.clone()).collect();
        if self.is_taken {
            let encoding = items.first()?.encoding;
            match self.sink.send_all(encoding, &bodies) {
                Ok(()) => return None,
                Err(error) if error.code() == ErrorCode::USAGE => self.is_taken = false,
                Err(_) => return Some(Stop::Cancelled),
            }
        }
        bodies.iter().for_each(|body| self.reply.extend_from_slice(body));
        (self.reply.len() > MAX_BODY as usize).then_some(Stop::TooMuch)
    }
}

/// What a command says on standard error. A thread reads it, for a caller that takes slowly makes us wait.
struct Complaint {
    tail: Arc<Mutex<Tail>>,
    /// Fails once all has been read.
    end: mpsc::Receiver<()>,
}

impl Complaint {
    fn read(pipe: Option<PipeReader>, log: Log) -> io::Result<Self> {
        let (tail, (open, end)) = (Arc::new(Mutex::new(Tail::default())), mpsc::channel());
        let kept = tail.clone();
        thread::Builder::new().spawn(move || {
            let _open: mpsc::Sender<()> = open;
            let mut pipe = pipe;
            while let Some(fd) = &pipe {
                if ready([(Some(fd as _), Interest::Read)], None).is_err() {
                    return;
                }
                drain(&mut pipe, |bytes| {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
                    log.pass(bytes);
                    true
                });
            }
        })?;
        Ok(Self { tail, end })
    }

    /// The end of it, once the command is gone. What left its process group may hold the pipe open.
    fn text(&self) -> String {
        let _ = self.end.recv_timeout(SILENCE); // all that matters is that it is over
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).text()
    }
}

/// Writes the body and the items: those that are here already with one write. Ends early if the command closes its input, or the items
/// aren't complete.
fn feed(mut stdin: PipeWriter, body: &[u8], mut items: ItemsBytes, cut: Cut) -> io::Result<()> {
    write_all(&mut stdin, body)?;
    let mut gathered = Vec::new();
    while let Some(Ok(item)) = items.next() {
        if cut == Cut::AsItComes && item.encoding != Encoding::JSON && item.body.len() >= PIECE {
            write_all(&mut stdin, &item.body)?;
            continue;
        }
        take(&mut gathered, &item, cut);
        while gathered.len() < PIECE
            && let Ok(Some(Some(item))) = items.next_until(Instant::now())
        {
            take(&mut gathered, &item, cut);
        }
        write_all(&mut stdin, &gathered)?;
        gathered.clear();
    }
    Ok(())
}

fn take(gathered: &mut Vec<u8>, item: &Response, cut: Cut) {
    gathered.extend_from_slice(&item.body);
    if cut == Cut::Lines || item.encoding == Encoding::JSON {
        gathered.push(b'\n');
    }
}

/// The pipe doesn't block, and is waited for here.
fn write_all(pipe: &mut PipeWriter, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match pipe.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready([(Some(&*pipe as _), Interest::Write)], None)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Bytes read at once, as many as a pipe holds.
const PIECE: usize = 64 * 1024;
/// How long the output must be silent, after the command has exited, to count as complete.
const SILENCE: Duration = Duration::from_millis(250);
