//! Streams: the items that go along with a call, and the credit that allows them.
//!
//! ```text
//! caller   -- item, end -->  request.spend   -->  service        credit of the service: request.grant
//! caller   <-- item -------  reply.spend     <--  service        credit of the caller:  reply.grant
//! ```
//!
//! What a caller sends before its call is delivered waits here: its credit as a sum, its end as it is.

use std::{fmt, time::Duration};

use ipc_protocol::{Credit, End, ErrorCode, Streams, limits::MAX_BODY};
use serde::{Deserialize, Serialize};

use super::moment::Moment;

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
    /// The streams of a call that has just come.
    pub(crate) fn new(streams: Streams, idle: Duration) -> Self {
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

    /// Counts an item that was sent on.
    pub(crate) fn count(&mut self, from: Side) {
        if let Some(way) = self.way(from) {
            way.passed += 1;
        }
    }

    /// Keeps the end of a request.
    pub(crate) fn hold(&mut self, end: End) {
        self.held = Some(Box::new(end));
    }

    /// Takes what has come before the call was delivered: the credit of the caller in items and bytes, and the end.
    pub(crate) fn take_held(&mut self) -> (Option<(u32, u64)>, Option<Box<End>>) {
        let granted = self.reply.filter(|way| way.items > 0 || way.bytes > 0);
        (granted.map(|way| (way.items, u64::try_from(way.bytes).unwrap_or(0))), self.held.take())
    }

    /// The direction in which a side sends.
    fn way(&mut self, from: Side) -> Option<&mut Way> {
        match from {
            Side::Caller => self.request.as_mut(),
            Side::Service => self.reply.as_mut(),
        }
    }

    /// Takes the credit for an item, and says whether there was any.
    pub(crate) fn spend(&mut self, now: Moment, from: Side, len: usize) -> bool {
        self.heard = Some(now);
        self.way(from).is_some_and(|way| way.spend(len))
    }

    /// Adds the credit that a side grants to the other one.
    pub(crate) fn grant(&mut self, now: Moment, by: Side, credit: Credit) {
        self.heard = Some(now);
        if let Some(way) = self.way(by.other()) {
            way.grant(credit);
        }
    }

    /// Ends the request, and says whether it could be ended.
    pub(crate) fn end(&mut self, now: Moment) -> bool {
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
    /// The one at the other end.
    pub(crate) fn other(self) -> Self {
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

/// The bytes charged for the end of a request while it waits with its call.
pub(crate) fn charge_of(end: &End) -> usize {
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
