//! JSON-RPC 2.0: docs/json-rpc.md.
//!
//! A message is one value, found by its end; the broker looks into its envelope, and at what it carries only to find where that ends.

mod base64;
mod body;
mod desk;
mod envelope;
mod scan;
mod speech;
mod value;

use std::borrow::Cow;

use bytes::{Buf, Bytes};
use ipc_protocol::{
    Body, Encoding, ErrorCode, Hello, Kind, Violation,
    limits::{MAX_BODY, MAX_NAME},
    wire::Message,
};
use serde::{Deserialize, Serialize};

use super::Incoming;
use crate::core::Begun;

pub(super) use desk::Desk;
pub use scan::{Fault, Scan, Scanner};
pub(super) use speech::encode;

use desk::NULL;
use envelope::{Beginning, Last, Letter, Opened, What};
use value::Parts;

/// Appends a body as the value, without a line end, that stands for it in this dialect.
pub fn write_body(encoding: Encoding, body: &[u8], out: &mut Vec<u8>) {
    body::write(encoding, body, out);
}

/// The body that a value stands for, as the result of a call whose body was bytes.
/// The scanner must have passed it.
pub fn read_body<F>(value: &Bytes) -> (Encoding, Body<F>) {
    body::read(value, 0..value.len(), body::Texts::Bytes, true)
}

/// What may begin a connection in this dialect.
pub(super) const FIRST: [u8; 2] = *b"{[";

/// Messages of one connection.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Inlet {
    pub(super) desk: Desk,
    /// Bytes that were read, of which the scanner has seen the first ones.
    chunk: Bytes,
    scanned: usize,
    /// What came before them of a message that goes on.
    partial: Vec<u8>,
    scanner: Scanner,
    stage: Stage,
    /// Bytes granted to that message.
    granted: usize,
    /// What was found, before it has become messages of the core.
    outcome: Option<Outcome>,
    found: Option<Found>,
    last: Last,
    /// Whether the router has received a hello, which this dialect does not have itself.
    greeted: bool,
    /// What the router knows to be kept.
    told: usize,
}

/// Where the inlet is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// Between two messages.
    #[default]
    Between,
    /// In one.
    Within,
    /// In one that is left out.
    Skipping,
    /// In a line that is left out, because something in it was malformed.
    Recovering,
}

/// What the bytes so far amount to.
#[derive(Debug, Serialize, Deserialize)]
enum Outcome {
    Found(Found),
    Begun(Begun),
    Malformed(Fault),
    Skipped,
}

/// One value, of which the objects before `at` were taken.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    bytes: Bytes,
    /// Whether the bytes are the connection's own.
    is_own: bool,
    /// Where the next object of a batch is looked for.
    at: usize,
    /// The number of the batch, once it is opened.
    batch: Option<u64>,
    /// Its elements, if it is an array.
    elements: usize,
}

impl Inlet {
    pub(super) fn feed(&mut self, bytes: Bytes) {
        self.chunk = if self.chunk.is_empty() { bytes } else { [&self.chunk[..], &bytes].concat().into() };
    }

    pub(super) fn next<F>(&mut self, into: &mut Message<F>) -> Result<Option<Incoming>, Violation> {
        loop {
            if self.stage == Stage::Between && self.say(into) {
                return Ok(Some(Incoming::Message));
            }
            if let Some(incoming) = self.take_found(into) {
                return Ok(Some(incoming));
            }
            let Some(outcome) = self.outcome.take().or_else(|| self.search()) else { return Ok(None) };
            if !std::mem::replace(&mut self.greeted, true) {
                *into = Message::Hello(self.hello(&outcome));
                self.outcome = Some(outcome);
                return Ok(Some(Incoming::Message));
            }
            match outcome {
                Outcome::Found(found) => self.found = Some(found),
                Outcome::Begun(begun) => return Ok(Some(Incoming::Begun(begun))),
                Outcome::Skipped => return Ok(Some(Incoming::Skipped)),
                Outcome::Malformed(fault) => {
                    return Ok(Some(malformed(self.desk.garbled(), fault.text())));
                }
            }
        }
    }

    /// A message in the peer's place, between two of its own.
    pub(super) fn say<F>(&mut self, into: &mut Message<F>) -> bool {
        let said = if self.stage == Stage::Between { self.desk.say() } else { None };
        said.map(|message| *into = message).is_some()
    }

    /// Bytes kept for the peer's calls, if the router doesn't know of them. A few come and go with each call, and aren't told.
    pub(super) fn take_kept(&mut self) -> Option<usize> {
        let (kept, told) = (self.desk.kept(), self.told);
        let is_news = kept.abs_diff(told) >= FEW || kept == 0 && told > 0;
        is_news.then(|| {
            self.told = kept;
            kept
        })
    }

    /// Whether a batch is to be written whose last answer was there before its last element was read.
    pub(super) fn has_whole_batch(&self) -> bool {
        self.desk.has_whole_batch()
    }

    pub(super) fn grant(&mut self, bytes: usize) {
        self.granted = bytes;
    }

    /// Leaves out the message that has begun. A call is refused by its number, so it gets one.
    pub(super) fn skip(&mut self) {
        let start = beginning(&self.partial, &self.chunk);
        match Beginning::of(&start).what {
            What::Call(id) => _ = self.desk.ask(id.unwrap_or(NULL), None),
            What::Answer(id) => _ = self.desk.end_delivered(id),
            What::OwnItem(_) | What::Item(_) => {}
        }
        self.chunk.advance(self.scanned);
        (self.scanned, self.partial, self.granted) = (0, Vec::new(), 0);
        self.stage = Stage::Skipping;
    }

    pub(super) fn detach(&mut self) {
        self.chunk = Bytes::copy_from_slice(&self.chunk);
        if let Some(found) = self.found.as_mut().filter(|found| !found.is_own) {
            found.bytes = Bytes::copy_from_slice(&found.bytes);
            found.is_own = true;
        }
    }

    pub(super) fn partial(&self) -> Option<usize> {
        match self.stage {
            Stage::Between | Stage::Recovering => None,
            Stage::Within | Stage::Skipping => Some(self.held()),
        }
    }

    pub(super) fn held(&self) -> usize {
        self.chunk.len() + self.partial.len() + self.found.as_ref().map_or(0, |found| found.bytes.len())
    }

    /// The next message of what was found.
    fn take_found<F>(&mut self, into: &mut Message<F>) -> Option<Incoming> {
        loop {
            let found = self.found.as_mut()?;
            let is_batch = found.bytes.first() == Some(&b'[');
            if is_batch && found.batch.is_none() {
                if let Some(fault) = found.fault() {
                    self.found = None;
                    return Some(malformed(self.desk.ask(NULL, None), fault));
                }
                (found.batch, found.at) = (Some(self.desk.open_batch()), 1);
            }
            let mut parts = Parts::from(&found.bytes, found.at);
            let at = if is_batch { parts.element() } else { Some(0..found.bytes.len()) };
            let Some(at) = at else {
                found.batch.into_iter().for_each(|batch| self.desk.close_batch(batch));
                self.found = None;
                return None;
            };
            found.at = parts.place();
            let letter = Letter { whole: &found.bytes, at, is_own: found.is_own && !is_batch, batch: found.batch };
            let opened = letter.open(&mut self.desk, &mut self.last, into);
            if !is_batch {
                self.found = None;
            }
            return Some(match opened {
                Opened::Nothing => continue,
                Opened::Message => Incoming::Message,
                Opened::Misnamed(id, error) => Incoming::Misnamed { id, error },
                Opened::Malformed(id, fault) => malformed(id, fault),
                Opened::NoMethod(id) => {
                    Incoming::Malformed { id, code: ErrorCode::NO_METHOD, text: NO_METHOD.to_owned() }
                }
            });
        }
    }

    /// Scans what has come.
    fn search(&mut self) -> Option<Outcome> {
        if self.stage == Stage::Recovering {
            let end = self.chunk.iter().position(|byte| *byte == b'\n');
            self.chunk.advance(end.map_or(self.chunk.len(), |at| at + 1));
            self.stage = end.map_or(Stage::Recovering, |_| Stage::Between);
        }
        if self.stage == Stage::Between {
            let blanks = self.chunk.iter().take_while(|byte| scan::is_blank(**byte)).count();
            self.chunk.advance(blanks);
            if !FIRST.contains(self.chunk.first()?) {
                return Some(self.recover(0, Fault::Syntax));
            }
            (self.scanner, self.stage) = (Scanner::new(), Stage::Within);
        }
        let scan = self.scanner.scan(self.chunk.get(self.scanned..).unwrap_or_default());
        let from = self.scanned;
        match (self.stage, scan) {
            (Stage::Recovering, _) => None,
            (Stage::Skipping, Scan::More) => {
                self.chunk = Bytes::new();
                None
            }
            (Stage::Skipping, Scan::End(at)) => {
                self.chunk.advance(at);
                self.stage = Stage::Between;
                Some(Outcome::Skipped)
            }
            (Stage::Skipping, Scan::Malformed(at, fault)) => {
                self.recover(at, fault); // its sender is told already
                Some(Outcome::Skipped)
            }
            (_, Scan::More) => self.keep(),
            (_, Scan::End(at)) => Some(Outcome::Found(self.complete(from + at))),
            (_, Scan::Malformed(at, fault)) => Some(self.recover(from + at, fault)),
        }
    }

    /// Keeps what has come of a message, or asks for room.
    fn keep(&mut self) -> Option<Outcome> {
        self.scanned = self.chunk.len();
        let held = self.partial.len() + self.chunk.len();
        if held > self.granted.max(ALLOWANCE) {
            return Some(Outcome::Begun(self.begun(held)));
        }
        self.partial.extend_from_slice(&self.chunk);
        (self.chunk, self.scanned) = (Bytes::new(), 0);
        None
    }

    /// The message that has begun, as far as its beginning tells. How long it will be isn't known, so it is as long as may be.
    fn begun(&mut self, held: usize) -> Begun {
        let start = beginning(&self.partial, &self.chunk);
        let Beginning { what, timeout_ms } = Beginning::of(&start);
        let (kind, id, delivered) = match what {
            What::Call(_) => (Kind::CALL, self.desk.next(), false),
            What::Answer(id) => (Kind::REPLY, id, false),
            What::OwnItem(id) => (Kind::ITEM, self.desk.find(id).unwrap_or(0), false), // 0 is the number of no call
            What::Item(id) => (Kind::ITEM, id, true),
        };
        let body_len = u32::try_from(held.saturating_sub(ENVELOPE)).unwrap_or(u32::MAX);
        Begun { kind, id, timeout_ms, body_len, delivered, len: MAX_BODY as usize + ENVELOPE, held }
    }

    fn complete(&mut self, end: usize) -> Found {
        let rest = self.chunk.split_to(end);
        let is_own = !self.partial.is_empty();
        let bytes = match std::mem::take(&mut self.partial) {
            partial if partial.is_empty() => rest,
            mut partial => {
                partial.extend_from_slice(&rest);
                Bytes::from(partial)
            }
        };
        (self.scanned, self.granted, self.stage) = (0, 0, Stage::Between);
        Found { bytes, is_own, at: 0, batch: None, elements: self.scanner.elements() }
    }

    /// Goes on behind the next line end.
    fn recover(&mut self, at: usize, fault: Fault) -> Outcome {
        self.chunk.advance(at);
        (self.scanned, self.partial, self.granted, self.stage) = (0, Vec::new(), 0, Stage::Recovering);
        Outcome::Malformed(fault)
    }

    fn hello(&self, outcome: &Outcome) -> Hello {
        let named = match outcome {
            Outcome::Found(found) if found.bytes.first() == Some(&b'{') => envelope::agent_of(&found.bytes),
            _ => None,
        };
        let mut agent = named.unwrap_or_else(|| AGENT.to_owned());
        agent.truncate(agent.floor_char_boundary(MAX_NAME));
        Hello::new(agent)
    }
}

impl Found {
    /// Why a batch is none.
    fn fault(&self) -> Option<&'static str> {
        match self.elements {
            1 if Parts::of(&self.bytes).element().is_none() => Some("a batch has at least one call"),
            count if count > BATCH => Some("a batch has at most 1,024 calls"),
            _ => None,
        }
    }
}

fn malformed(id: u64, fault: &str) -> Incoming {
    Incoming::Malformed { id, code: ErrorCode::USAGE, text: fault.to_owned() }
}

/// The first bytes of a message that has begun.
fn beginning<'a>(partial: &'a [u8], chunk: &'a [u8]) -> Cow<'a, [u8]> {
    let first = |bytes: &'a [u8], len: usize| bytes.get(..len).unwrap_or(bytes);
    match ENVELOPE.saturating_sub(partial.len()) {
        0 => first(partial, ENVELOPE).into(),
        _ if partial.is_empty() => first(chunk, ENVELOPE).into(),
        missing => [partial, first(chunk, missing)].concat().into(),
    }
}

/// What is wrong with a request whose method is a notification's.
const NO_METHOD: &str = "there is no such method: what begins with '$/' is a notification, which has no id";
/// The agent of a peer that doesn't name itself.
const AGENT: &str = "json-rpc";
/// Bytes of a message that a connection may keep without asking, as in the native dialect; and of an envelope around a body of the
/// greatest length.
const ALLOWANCE: usize = 4_128;
const ENVELOPE: usize = 4_096;
/// Bytes kept for a peer that aren't worth telling: those of a handful of calls, less than a connection is counted as.
const FEW: usize = 2_048;
/// Calls in a batch: as many as a caller may wait for.
const BATCH: usize = 1_024;

#[cfg(test)]
mod tests {
    use ipc_protocol::NoFd;

    use super::*;

    /// What the router is asked about a long message that begins with this, of which a read has brought `cut` bytes before.
    fn begun(inlet: &mut Inlet, start: &str, cut: usize) -> Begun {
        let message = format!("{start}{}", "x".repeat(9_000));
        let mut into = Message::<NoFd>::Pong(0);
        for part in [&message.as_bytes()[..cut], &message.as_bytes()[cut..]] {
            inlet.feed(Bytes::copy_from_slice(part));
            while let Some(incoming) = inlet.next(&mut into).unwrap() {
                if let Incoming::Begun(begun) = incoming {
                    return begun;
                }
            }
        }
        panic!("{start} isn't long");
    }

    #[test]
    fn a_long_message_is_known_by_its_beginning_wherever_that_is_cut() {
        for (start, kind, id, delivered, timeout_ms) in [
            (r#"{"jsonrpc":"2.0","id":1,"meta":{"timeout_ms":7},"params":[""#, Kind::CALL, 2, false, 7),
            (r#"{"jsonrpc":"2.0","method":"a","params":[""#, Kind::CALL, 2, false, 0),
            (r#"{"jsonrpc":"2.0","id":"9","result":[""#, Kind::REPLY, 9, false, 0),
            (r#"{"id":9,"error":{"message":""#, Kind::REPLY, 9, false, 0),
            (r#"{"method":"$/item","params":{"call":"9","item":""#, Kind::ITEM, 9, true, 0),
            (r#"{"method":"$/item","params":{"id":"own","item":""#, Kind::ITEM, 1, false, 0),
            (r#"{"method":"$/item","params":{"id":"ended","item":""#, Kind::ITEM, 0, false, 0),
            (r#"{"method":"$/item","params":{"item":""#, Kind::CALL, 2, false, 0),
        ] {
            for cut in 0..start.len() {
                let mut inlet = Inlet::default();
                inlet.feed(Bytes::from_static(br#"{"jsonrpc":"2.0","id":"own","method":"a"}"#));
                let found = begun(&mut inlet, start, cut);
                let found = (found.kind, found.id, found.delivered, found.timeout_ms);
                assert_eq!(found, (kind, id, delivered, timeout_ms), "{start} cut at {cut}");
            }
        }
    }
}
