//! Calls with frames written by hand, so that nothing between the caller and the broker hides an end too many.

use std::{collections::HashMap, io::ErrorKind, os::unix::net::UnixStream, time::Duration};

use bytes::Bytes;
use ipc_protocol::{Call, Cancel, ErrorCode, Message, Reply, Retry, Routing, Streams};
use ipc_tests::{
    eventually::within,
    peer::{Peer, hello},
};

use super::{Begun, Journal, TIMEOUT, pace::Pace};
use crate::{
    dice::Dice,
    ledger::{CallId, End, Flaw, Told},
    place::{Halt, Place},
    work::{Kind, Work},
};

/// A caller on one connection after the other.
struct RawCaller<'a> {
    journal: &'a Journal,
    dice: Dice,
    /// Calls by their number on the wire, which is one more than their serial.
    pending: HashMap<u64, (Begun, Work)>,
    ends: Vec<End>,
}

/// Calls until it is to end and every call has ended.
pub(super) fn call(place: &Place, halt: &Halt, journal: &Journal) {
    let mut caller = RawCaller { journal, dice: place.dice(0xF0), pending: HashMap::new(), ends: Vec::new() };
    let mut pace = Pace::new(place.rate);
    while !halt.is_asked() {
        if let Ok(stream) = UnixStream::connect(&place.socket) {
            caller.exchange(Peer::on(stream), &mut pace, halt);
            caller.lose();
        }
        within(Duration::from_millis(4), || halt.is_asked());
    }
}

impl RawCaller<'_> {
    /// Calls on a connection until it ends, or until there is nothing left to wait for.
    fn exchange(&mut self, mut peer: Peer, pace: &mut Pace, halt: &Halt) {
        peer.stream().set_read_timeout(Some(READ_TIMEOUT)).expect("it is not zero");
        if peer.try_send_bytes(&hello().to_vec()).is_err() {
            return;
        }
        while !halt.is_asked() || !self.pending.is_empty() {
            let room = WINDOW.saturating_sub(self.pending.len() as u64);
            let due = if halt.is_asked() { 0 } else { pace.due().min(room) };
            pace.made(due);
            let frames: Vec<u8> = (0..due).flat_map(|_| self.next_call()).collect();
            if peer.try_send_bytes(&frames).is_err() || !self.receive(&mut peer) {
                return;
            }
            self.give_up_late();
            self.journal.ends.told(&std::mem::take(&mut self.ends));
        }
    }

    /// A call, at times with its cancel.
    fn next_call(&mut self) -> Vec<u8> {
        let kind = Kind::roll(&mut self.dice, self.journal.rate);
        let timeout = if self.dice.once_in(20) { Duration::from_millis(1) + self.dice.ms(20) } else { TIMEOUT };
        let begun = Begun::now(self.journal.next(), kind, timeout);
        let work = Work::roll(&mut self.dice, begun.id, kind, LONGEST);
        let id = number(begun.id);
        let call = Call {
            id,
            one_way: false,
            streams: Streams::NONE,
            encoding: Kind::ENCODING,
            timeout_ms: u32::try_from(timeout.as_millis()).expect("seconds"),
            caller: Bytes::new(),
            routing: Routing::to(kind.target(), "").build(),
            body: work.to_json().into(),
        };
        self.pending.insert(id, (begun, work));
        let mut frames = Message::Call(call).to_vec();
        if self.dice.once_in(30) {
            frames.extend(Message::Cancel(Cancel { delivered: None, id, reason: ErrorCode::CANCELLED }).to_vec());
        }
        frames
    }

    /// Reads what is there. False once the connection has ended.
    fn receive(&mut self, peer: &mut Peer) -> bool {
        loop {
            match peer.try_receive() {
                Ok(Some(Message::Reply(Reply { id, body, .. }))) => self.end(id, Ok(body.bytes().clone())),
                Ok(Some(Message::Error(failure))) => self.end(failure.id, Err((failure.code, failure.retry))),
                Ok(Some(Message::Goodbye(_)) | None) => return false,
                Ok(Some(_)) => {}
                // A stop interrupts a read that has a timeout (signal(7)).
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return true,
                Err(_) => return false,
            }
        }
    }

    fn end(&mut self, id: u64, outcome: Result<Bytes, (ErrorCode, Retry)>) {
        let Some((begun, work)) = self.pending.remove(&id) else {
            let id = CallId::new(self.journal.life, id.wrapping_sub(1) & 0xFF_FFFF_FFFF);
            return self.ends.push(End::now(id, Told::GivenUp, Kind::Quick).flawed(Flaw::Again));
        };
        self.ends.push(match outcome {
            Ok(reply) if work.is_answered_by(&reply) => begun.ends(Told::Answered),
            Ok(_) => begun.ends(Told::Answered).flawed(Flaw::Wrong),
            Err((code, retry)) => begun.ends(Told::error(code, retry)),
        });
    }

    /// No call may hang: those that do are reported.
    fn give_up_late(&mut self) {
        let late = self.pending.extract_if(|_, (begun, _)| begun.is_late());
        self.ends.extend(late.map(|(_, (begun, _))| begun.ends(Told::GivenUp)));
    }

    /// The connection has ended, and with it all its calls.
    fn lose(&mut self) {
        let lost = self.pending.drain().map(|(_, (begun, _))| begun.ends(LOST));
        self.ends.extend(lost);
        self.journal.ends.told(&std::mem::take(&mut self.ends));
    }
}

/// Numbers on the wire grow, and begin at 1.
fn number(id: CallId) -> u64 {
    id.serial() + 1
}

const LOST: Told = Told::Failed(ErrorCode::BROKER_LOST.0, crate::ledger::Safety::Unknown);
/// Calls under way on one connection.
const WINDOW: u64 = 64;
/// How long it reads before it writes again.
const READ_TIMEOUT: Duration = Duration::from_millis(2);
const LONGEST: u64 = 400_000;
