//! Streams: the items that go along with a call, and the credit that allows them. The broker keeps none of them: each is passed on at
//! once.
//!
//! ```text
//! caller   -- item, end -->  request.spend   -->  service        credit of the service: request.grant
//! caller   <-- item -------  reply.spend     <--  service        credit of the caller:  reply.grant
//! ```
//!
//! What a caller sends before its call is delivered waits in the slot of the call: its credit as a sum, its end as it is.

use std::{fmt, time::Duration};

use ipc_protocol::{
    Credit, End, ErrorCode, Streams,
    limits::MAX_BODY,
    wire::{Call, Element, Failure, Message},
};
use serde::{Deserialize, Serialize};

use super::{
    calls::{Caller, Slot},
    ids::{CallId, InstanceId, PeerId},
    item,
    moment::Moment,
    names::Place,
    output::Outputs,
    peers::Stage as PeerStage,
    refusal::{Progress, Refusal},
    switchboard::Switchboard,
};

/// The streams of a pending call.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stream {
    /// From the caller to the service.
    request: Option<Way>,
    /// From the service to the caller.
    reply: Option<Way>,
    /// How long both sides may be silent.
    idle: Duration,
    /// When one of them was heard last, if ever.
    heard: Option<Moment>,
    /// The end of a request that is not delivered yet.
    held: Option<Box<End>>,
}

/// One direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Way {
    /// Items that may still be sent.
    items: u32,
    /// Bytes that they may have. Below zero after an item that was longer than what was left.
    bytes: i64,
    /// Items that were sent on.
    passed: u64,
    /// Whether its sender has ended it.
    ended: bool,
}

/// Who sends a frame of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Caller,
    Service,
}

/// Why the broker ends a call because of its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// This side sent an item that it might not send.
    Item(Side),
    /// The caller sent an end that it might not send.
    End,
    /// This side does not read.
    NotReading(Side),
    /// An item is longer than a body may be.
    TooLong {
        /// Its length, from the header.
        len: u64,
        /// The limit.
        limit: u64,
    },
}

impl Stream {
    fn new(streams: Streams, idle: Duration) -> Self {
        let way = |is_there: bool| is_there.then(Way::default);
        Self { request: way(streams.request), reply: way(streams.reply), idle, heard: None, held: None }
    }

    /// The bytes charged for it, besides the slot of its call.
    pub(crate) fn charge(&self) -> usize {
        BOX + self.held.as_ref().map_or(0, |end| charge_of(end))
    }

    /// When the call ends if neither side is heard any more. `None` if none was heard so far.
    pub(crate) fn due(&self) -> Option<Moment> {
        self.heard.map(|heard| heard.after(self.idle))
    }

    /// The items of the request that were sent on, if it has any.
    pub(crate) fn of_request(&self) -> Option<u64> {
        self.request.map(|way| way.passed)
    }

    /// The items of the service that were sent on, if the caller takes any.
    pub(crate) fn of_reply(&self) -> Option<u64> {
        self.reply.map(|way| way.passed)
    }

    /// The direction in which a side sends.
    fn way(&mut self, from: Side) -> Option<&mut Way> {
        match from {
            Side::Caller => self.request.as_mut(),
            Side::Service => self.reply.as_mut(),
        }
    }

    /// Takes the credit for an item, and says whether there was any.
    fn spend(&mut self, now: Moment, from: Side, len: usize) -> bool {
        self.heard = Some(now);
        self.way(from).is_some_and(|way| way.spend(len))
    }

    /// Adds the credit that a side grants to the other one.
    fn grant(&mut self, now: Moment, by: Side, credit: Credit) {
        self.heard = Some(now);
        if let Some(way) = self.way(by.other()) {
            way.grant(credit);
        }
    }

    /// Ends the request, and says whether it could be ended.
    fn end(&mut self, now: Moment) -> bool {
        self.heard = Some(now);
        self.request.as_mut().is_some_and(|way| !std::mem::replace(&mut way.ended, true))
    }

    /// Checks its credit. For the invariants.
    ///
    /// # Panics
    /// If it was overdrawn by more than one item.
    pub(crate) fn assert_credit(&self) {
        for way in [self.request, self.reply].into_iter().flatten() {
            assert!((-i64::from(MAX_BODY)..=BYTES).contains(&way.bytes), "{way:?}");
        }
    }
}

impl Way {
    /// Takes the credit for an item of `len` bytes, and says whether there was any.
    #[inline]
    fn spend(&mut self, len: usize) -> bool {
        if self.items == 0 || self.bytes <= 0 || self.ended {
            return false;
        }
        self.items -= 1;
        self.bytes = self.bytes.saturating_sub_unsigned(len as u64);
        true
    }

    fn grant(&mut self, credit: Credit) {
        self.items = self.items.saturating_add(credit.items);
        self.bytes = self.bytes.saturating_add_unsigned(credit.bytes).min(BYTES);
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Caller => Self::Service,
            Self::Service => Self::Caller,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caller => "the caller",
            Self::Service => "the service",
        })
    }
}

impl Broken {
    pub(crate) fn code(self) -> ErrorCode {
        match self {
            Self::Item(_) | Self::End => ErrorCode::PROTOCOL,
            Self::NotReading(_) => ErrorCode::BUSY,
            Self::TooLong { .. } => ErrorCode::TOO_LARGE,
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item(side) => write!(f, "{side} sent an item without credit for it"),
            Self::End => f.write_str("the caller ended a request that has ended, or has no items"),
            Self::NotReading(side) => write!(f, "{side} doesn't read what it has allowed to be sent"),
            Self::TooLong { len, limit } => write!(f, "an item has {len} bytes, at most {limit} are taken"),
        }
    }
}

impl<F> Slot<F> {
    /// When the call ends, if nothing more is heard of its streams.
    pub(crate) fn ends(&self) -> Moment {
        let due = self.stream.as_ref().and_then(|stream| stream.due());
        due.map_or(self.deadline, |due| due.max(self.deadline))
    }

    /// How far a delivered call has come.
    pub(crate) fn progress(&self) -> Progress {
        let items = self.stream.as_ref().and_then(|stream| stream.of_request());
        items.map_or(Progress::Delivered, Progress::Streaming)
    }
}

impl<F> Switchboard<F> {
    /// The streams that a call asks for, if its service takes any.
    #[cold]
    pub(crate) fn open_streams(&self, place: Place, call: &Call<F>) -> Result<Box<Stream>, Refusal> {
        let takes_them = match place {
            Place::Name(id) => self.names.name(id).is_some_and(|name| name.streams),
            Place::Instance(id) => self.names.instance(id).is_some_and(|instance| instance.streams),
        };
        if !takes_them {
            let service = call.routing.service().escape_ascii();
            return Err(Refusal::Invalid(format!("'{service}' takes no streams")));
        }
        Ok(Box::new(Stream::new(call.streams, self.post.limits.timeout(call.timeout_ms))))
    }

    /// An item of either side.
    #[inline(never)]
    pub(crate) fn item(&mut self, now: Moment, from: PeerId, sent: &mut Element<F>, out: &mut impl Outputs<F>) {
        let Some((call, side)) = self.find_stream(from, sent.id, sent.delivered, out) else { return };
        let (len, limit) = (sent.body.len(), self.post.limits.body_bytes);
        if len as u64 > limit {
            return self.break_off(call, Broken::TooLong { len: len as u64, limit }, out);
        }
        let stream = self.calls.get_mut(call).and_then(|slot| slot.stream.as_mut());
        if !stream.is_some_and(|stream| stream.spend(now, side, len)) {
            return self.break_off(call, Broken::Item(side), out);
        }
        let Some((to, id, delivered)) = self.other_side(call, side) else { return };
        let item = Message::Item(Element { id, delivered, ..sent.take() });
        if !self.forward(call, (to, side.other()), item, out) {
            return;
        }
        self.post.counters.items += 1;
        let stream = self.calls.get_mut(call).and_then(|slot| slot.stream.as_mut());
        if let Some(way) = stream.and_then(|stream| stream.way(side)) {
            way.passed += 1;
        }
    }

    /// The header of an item whose body is over the limit, or that no one waits for. The rest of it is skipped.
    pub(crate) fn skip_item(
        &mut self,
        from: PeerId,
        (id, delivered): (u64, bool),
        len: u64,
        out: &mut impl Outputs<F>,
    ) {
        if let Some((call, _)) = self.find_stream(from, id, delivered, out) {
            let limit = self.post.limits.body_bytes;
            self.break_off(call, Broken::TooLong { len, limit }, out);
        }
    }

    /// The end of a request.
    #[inline(never)]
    pub(crate) fn end_request(&mut self, now: Moment, from: PeerId, end: &mut End, out: &mut impl Outputs<F>) {
        let Some((call, side)) = self.find_stream(from, end.id, false, out) else { return };
        let Some(slot) = self.calls.get_mut(call) else { return };
        if !slot.stream.as_mut().is_some_and(|stream| stream.end(now)) {
            return self.break_off(call, Broken::End, out);
        }
        let text = std::mem::take(&mut end.text);
        let end = End { id: call.to_bits(), text, ..*end };
        match self.other_side(call, side) {
            Some((to, ..)) => _ = self.forward(call, (to, Side::Service), Message::End(end), out),
            None => self.hold(call, from, end, out),
        }
    }

    /// Credit of either side.
    #[inline(never)]
    pub(crate) fn credit(&mut self, now: Moment, from: PeerId, credit: Credit, out: &mut impl Outputs<F>) {
        let Some((call, side)) = self.find_stream(from, credit.id, credit.delivered, out) else { return };
        let Some(stream) = self.calls.get_mut(call).and_then(|slot| slot.stream.as_mut()) else {
            self.post.counters.stream_frames_late += 1;
            return;
        };
        stream.grant(now, side, credit);
        if let Some((to, id, delivered)) = self.other_side(call, side) {
            self.forward(call, (to, side.other()), Message::Credit(Credit { id, delivered, ..credit }), out);
        }
    }

    /// Sends what has come for a call with streams before it was delivered, just now.
    pub(crate) fn deliver_held(&mut self, call: CallId, on: InstanceId, out: &mut impl Outputs<F>) {
        let Some(to) = self.peer_of(on) else { return };
        let Some(slot) = self.calls.get_mut(call) else { return };
        let (payer, Some(stream)) = (slot.payer, slot.stream.as_mut()) else { return };
        let held = stream.held.take();
        let granted = stream.reply.filter(|way| way.items > 0 || way.bytes > 0);
        if let Some(end) = &held {
            self.post.accounts.discharge_bytes(payer, charge_of(end));
        }
        if let Some(Way { items, bytes, .. }) = granted {
            let bytes = u64::try_from(bytes).unwrap_or(0);
            let credit = Message::Credit(Credit { id: call.to_bits(), delivered: true, items, bytes });
            if !self.forward(call, (to, Side::Service), credit, out) {
                return;
            }
        }
        if let Some(end) = held {
            self.forward(call, (to, Side::Service), Message::End(*end), out);
        }
    }

    /// Keeps the end of a request until its call is delivered.
    fn hold(&mut self, call: CallId, caller: PeerId, end: End, out: &mut impl Outputs<F>) {
        let waiting = self.post.peers.get(caller).map_or(0, |peer| peer.pending.len() as usize);
        let Some(slot) = self.calls.get_mut(call) else { return };
        match self.post.charge_or_refuse(slot.payer, charge_of(&end), waiting) {
            Ok(()) => {
                if let Some(stream) = &mut slot.stream {
                    stream.held = Some(Box::new(end));
                }
            }
            Err(refusal) => {
                if let Some((caller, _)) = self.abandon(call, ErrorCode::BUSY, out) {
                    self.refuse(&caller, refusal, out);
                }
            }
        }
    }

    /// The call that a frame belongs to, and who has sent it. What belongs to none may have been on its way when its call ended: it is
    /// dropped and counted.
    fn find_stream(
        &mut self,
        from: PeerId,
        id: u64,
        delivered: bool,
        out: &mut impl Outputs<F>,
    ) -> Option<(CallId, Side)> {
        let found = match delivered {
            false => self.post.peers.get(from)?.pending.find(id).map(|call| (call, Side::Caller)),
            true => {
                let call = CallId::from_bits(id);
                let slot = call.and_then(|call| self.calls.get(call));
                let is_its_own = slot.map(|slot| slot.runs_on().and_then(|on| self.peer_of(on)) == Some(from));
                if call.is_none() || is_its_own == Some(false) {
                    self.stray(from, out); // it was never delivered to this peer
                    return None;
                }
                call.filter(|_| slot.is_some_and(|slot| slot.caller != Caller::Gone)).map(|call| (call, Side::Service))
            }
        };
        if found.is_none() {
            self.post.counters.stream_frames_late += 1;
        }
        found
    }

    /// The receiver of what a side sends, and its number for the call: `None` if the call is not delivered.
    fn other_side(&self, call: CallId, side: Side) -> Option<(PeerId, u64, bool)> {
        let slot = self.calls.get(call)?;
        match (side, &slot.caller) {
            (Side::Caller, _) => Some((self.peer_of(slot.runs_on()?)?, call.to_bits(), true)),
            (Side::Service, Caller::Peer { peer, id }) => Some((*peer, *id, false)),
            (Side::Service, Caller::Datagram(_) | Caller::OneWay | Caller::Gone) => None,
        }
    }

    /// Sends a frame to the other side, and says whether it could be. A receiver that does not read loses the call, not its connection.
    #[inline]
    fn forward(
        &mut self,
        call: CallId,
        (to, side): (PeerId, Side),
        message: Message<F>,
        out: &mut impl Outputs<F>,
    ) -> bool {
        let cost = item::cost(&message);
        let Some(peer) = self.post.peers.get(to).filter(|peer| peer.stage != PeerStage::Leaving) else { return false };
        if peer.backlog > 0 && (peer.unread + cost) as u64 > self.post.limits.unread_hard_bytes {
            self.break_off(call, Broken::NotReading(side), out);
            return false;
        }
        self.post.send_made(to, cost, out, || message);
        self.post.peers.get(to).is_some_and(|peer| peer.stage != PeerStage::Leaving) // it may have been cut for a full quota
    }

    /// Ends a call because of its streams: its caller receives an error, its service a cancel.
    #[cold]
    fn break_off(&mut self, call: CallId, why: Broken, out: &mut impl Outputs<F>) {
        let Some((caller, progress)) = self.abandon(call, why.code(), out) else { return };
        let refusal = Refusal::Broken(why, progress);
        let Caller::Peer { peer, id } = caller else { return self.refuse(&caller, refusal, out) };
        let failure: Failure<F> = refusal.into_failure(id);
        self.post.counters.error(failure.code);
        self.post.send_last(peer, Message::Error(failure), out);
    }
}

/// The bytes charged for the end of a request while it waits with its call.
fn charge_of(end: &End) -> usize {
    const HELD: usize = 80;
    HELD + end.text.len()
}

/// The bytes charged for the streams of a call.
const BOX: usize = 160;
/// The most bytes that credit adds up to.
const BYTES: i64 = 1 << 53;

#[cfg(test)]
mod tests {
    use super::*;

    fn credit(items: u32, bytes: u64) -> Credit {
        Credit { id: 1, delivered: false, items, bytes }
    }

    #[test]
    fn an_item_needs_credit_in_items_and_in_bytes() {
        for (items, bytes, is_taken) in [(0, 0, false), (1, 0, false), (0, 1, false), (1, 1, true)] {
            let mut way = Way::default();
            way.grant(credit(items, bytes));
            assert_eq!(way.spend(0), is_taken, "{items} items, {bytes} bytes");
        }
    }

    #[test]
    fn the_last_item_may_be_longer_than_what_is_left_and_the_next_credit_pays_for_it() {
        let mut way = Way::default();
        way.grant(credit(9, 10));
        assert!(way.spend(25) && !way.spend(0));
        way.grant(credit(0, 15));
        assert!(!way.spend(0), "the debt is paid, and nothing is left");
        way.grant(credit(0, 1));
        assert!(way.spend(0));
    }

    #[test]
    fn credit_stops_at_its_limits() {
        let mut way = Way::default();
        way.grant(credit(u32::MAX, u64::MAX));
        way.grant(credit(u32::MAX, u64::MAX));
        assert_eq!((way.items, way.bytes), (u32::MAX, 1 << 53));
    }

    #[test]
    fn streams_are_charged_at_least_what_they_take() {
        assert!(size_of::<Stream>() + 16 <= BOX, "{} bytes", size_of::<Stream>());
        let end = End { text: String::new(), ..End::complete(1) };
        assert!(size_of::<End>() + 16 <= charge_of(&end), "{} bytes", size_of::<End>());
    }
}
