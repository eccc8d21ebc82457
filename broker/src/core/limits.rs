//! Every limit of the broker, in one table: default, unit, range, what it bounds, and the reason for it.

use std::{ops::RangeInclusive, time::Duration};

use ipc_protocol::limits::{HEADER_LEN, MAX_BODY, MAX_ROUTING, MAX_TIMEOUT_MS};
use serde::{Deserialize, Serialize};

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident = $default:literal $unit:literal in $range:expr, bounds $bounded:ident;)*) => {
        /// The limits in force. Configuration files name them as they are named here, in section `[limits]`.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: u64,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Limits {
            /// One row per limit.
            pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
                [$(Row {
                    name: stringify!($name),
                    value: self.$name,
                    unit: $unit,
                    range: $range,
                    bounded: Bounded::$bounded,
                },)*].into_iter()
            }

            /// The limit of that name, to be changed.
            pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }
        }
    };
}

limits! {
    /// Bytes of a body sent inline. At most the 1 MiB that the protocol allows: larger bodies would make one sender's turn long.
    body_bytes = 1_048_576 "bytes" in 1..=MAX_BODY as u64, bounds OneFrame;
    /// Time from connecting to the hello. A silent connection costs a descriptor and about 1 KiB.
    hello_ms = 5_000 "ms" in 1..=HOUR_MS, bounds OneFrame;
    /// Time from the first byte of a frame to its last. A frame that is being assembled holds up to twice what has come of it.
    frame_ms = 10_000 "ms" in 1..=HOUR_MS, bounds OneFrame;
    /// Memory of a long frame of which hardly anything has come. What has come is charged, not what was announced: from there on a frame
    /// has up to twice what has come of it.
    frame_step = 16_384 "bytes" in 1..=MEMORY, bounds OneFrame;
    /// Deadline of a call that doesn't name one.
    call_default_ms = 30_000 "ms" in 1..=MAX_TIMEOUT_MS as u64, bounds OneFrame;
    /// Longest deadline of a call; a longer one is cut to it. A forgotten call holds a slot of about 150 bytes that long.
    call_max_ms = 3_600_000 "ms" in 1..=MAX_TIMEOUT_MS as u64, bounds OneFrame;
    /// Time for running calls to finish after TERM.
    drain_ms = 5_000 "ms" in 0..=HOUR_MS, bounds OneFrame;
    /// Connections in all. About 1 KiB each while idle; lowered at start to the descriptors that the process may open.
    connections = 16_384 "connections" in 1..=COUNT, bounds Connections;
    /// Connections of one user other than root. One desktop user needs more than D-Bus's 256.
    connections_per_uid = 512 "connections" in 1..=COUNT, bounds ConnectionsOfOneUser;
    /// Connections a second of one user who may do nothing, beyond 1,024 at once. More are closed unheard, so that
    /// who connects in a loop doesn't fill the line of those who wait to be accepted.
    connects_strangers = 50 "a second" in 1..=COUNT, bounds OneFrame;
    /// The part of `connections` kept for root and the broker's own user, so that an administrator gets in when it is full.
    connections_reserved = 16 "connections" in 0..=COUNT, bounds OneFrame;
    /// Unread bytes of one connection above which no more calls are delivered to it; they wait in the name's queue. Nothing more is
    /// read from it either, unless it is a service.
    unread_soft_bytes = 1_048_576 "bytes" in 1..=MEMORY, bounds UnreadOfOnePeer;
    /// Unread bytes of one connection above which it is cut: its peer doesn't read its replies. At least one whole frame more than
    /// `unread_soft_bytes`, or the last call that the broker delivers would cut the service.
    unread_hard_bytes = 4_194_304 "bytes" in 1..=MEMORY, bounds UnreadOfOnePeer;
    /// Bytes held for one user: unread frames, queued calls, registrations, frames being assembled. Queued calls may fill three
    /// quarters of it and assembly seven eighths, so that answers always find room.
    bytes_per_uid = 33_554_432 "bytes" in 1..=MEMORY, bounds BytesOfOneUser;
    /// The same for all users together: the most memory that traffic can take. Lowered at start to what the process may have.
    bytes_total = 268_435_456 "bytes" in 1..=MEMORY, bounds Bytes;
    /// Bytes of `bytes_total` that each user who may do anything is sure of while it uses the broker, whatever others hold. Halved, and
    /// halved again, while those of all such users would be more than half of `bytes_total`.
    bytes_guaranteed = 2_097_152 "bytes" in 0..=MEMORY, bounds OneFrame;
    /// Pending calls of one caller. D-Bus had no such limit: CVE-2014-3638.
    calls_per_caller = 1_024 "calls" in 1..=COUNT, bounds CallsOfOneCaller;
    /// Calls of one name, queued and running.
    calls_per_service = 4_096 "calls" in 1..=COUNT, bounds CallsOfOneName;
    /// Names of one connection.
    names_per_peer = 64 "names" in 1..=COUNT, bounds NamesOfOnePeer;
    /// Subscriptions of one connection. A desktop panel has dozens; D-Bus allows 512 match rules.
    subscriptions_per_peer = 512 "subscriptions" in 1..=COUNT, bounds SubscriptionsOfOnePeer;
    /// Bytes of the patterns of one connection's subscriptions, which cost the tree of topics up to 100 times as much.
    pattern_bytes_per_peer = 65_536 "bytes" in 1..=COUNT, bounds PatternsOfOnePeer;
    /// Events of one subscription that wait while its peer doesn't read. All that waits for a peer stays below `unread_soft_bytes`.
    queue_events = 65_536 "events" in 1..=COUNT, bounds OneFrame;
    /// Bytes of the kept events of one user: state for late subscribers, not a store.
    retained_bytes_per_uid = 4_194_304 "bytes" in 1..=MEMORY, bounds KeptOfOneUser;
    /// The same for all users together.
    retained_bytes = 33_554_432 "bytes" in 1..=MEMORY, bounds Kept;
    /// Locks that one connection holds or waits for. Few programs need more than a handful at once; each costs about 0.5 KiB.
    locks_per_peer = 64 "locks" in 1..=COUNT, bounds LocksOfOnePeer;
    /// Replies to calls that it never received, after which a peer is cut.
    stray_replies = 16 "replies" in 0..=COUNT, bounds OneFrame;
    /// Frames of one peer that are routed before the next peer's. A read counts as a frame, and so do 4 KiB in or out.
    turn_frames = 16 "frames" in 1..=COUNT, bounds OneFrame;
    /// Frames routed in one turn, before anything is written: about half a millisecond of work.
    turn_frames_total = 512 "frames" in 1..=COUNT, bounds Turn;
    /// Frames in one turn of users who may do nothing. They delay others by about this many microseconds a turn.
    turn_frames_strangers = 64 "frames" in 1..=COUNT, bounds OneFrame;
    /// Connections waiting to be accepted. The kernel lowers it to net.core.somaxconn.
    backlog = 4_096 "connections" in 1..=COUNT, bounds Backlog;
}

/// A limit with its properties.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) value: u64,
    pub(crate) unit: &'static str,
    range: RangeInclusive<u64>,
    pub(crate) bounded: Bounded,
}

/// What a limit bounds. `ipc.limits` shows the use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bounded {
    /// A frame, a call, a turn: nothing that adds up.
    OneFrame,
    Connections,
    ConnectionsOfOneUser,
    Bytes,
    BytesOfOneUser,
    UnreadOfOnePeer,
    CallsOfOneCaller,
    CallsOfOneName,
    NamesOfOnePeer,
    /// What is done before anything is written.
    Turn,
    /// Connections that the kernel keeps.
    Backlog,
    SubscriptionsOfOnePeer,
    PatternsOfOnePeer,
    LocksOfOnePeer,
    KeptOfOneUser,
    Kept,
}

/// Why a value isn't used as a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// Not a value for this limit, whatever the others are.
    #[error("{limit} = {value} is out of range: {} to {} {unit}", range.start(), range.end())]
    OutOfRange {
        /// The limit.
        limit: &'static str,
        /// Its value.
        value: u64,
        /// What it counts.
        unit: &'static str,
        /// The values that it can have.
        range: RangeInclusive<u64>,
    },
    /// A quota without room for a single frame, which would wait for ever.
    #[error("{limit} = {value} has no room for a body of {body} bytes (body_bytes)")]
    NoRoomForFrame {
        /// The quota.
        limit: &'static str,
        /// Its value.
        value: u64,
        /// `body_bytes`.
        body: u64,
    },
    /// A call that is delivered while `unread_soft_bytes` allows it would cut the service.
    #[error(
        "unread_hard_bytes = {value} must be at least {least}: unread_soft_bytes = {soft}, and a frame with a body of \
         {body} bytes (body_bytes)"
    )]
    HardTooLow {
        /// `unread_hard_bytes`.
        value: u64,
        /// The least it can be.
        least: u64,
        /// `unread_soft_bytes`.
        soft: u64,
        /// `body_bytes`.
        body: u64,
    },
}

/// The purpose of charged bytes. What can wait or be refused may not fill the quota. An answer can do neither, and without room for
/// answers the calls that fill the quota would never end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// An event for a peer that is behind: up to half.
    Event,
    /// A call in a queue, a wait for a name, a registration, a kept event: up to three quarters.
    Waiting,
    /// A frame that is being assembled: up to seven eighths.
    Assembly,
    /// One of the first few things of a connection that wait: up to fifteen sixteenths, so that a connection that fills the quota
    /// leaves some of it to the others of its user.
    FirstWaiting,
    /// A frame on its way to its receiver.
    Unread,
}

impl Use {
    /// The part of a quota that it may fill.
    #[inline]
    pub(crate) fn part_of(self, quota: u64) -> u64 {
        match self {
            Self::Event => quota - quota / 2,
            Self::Waiting => quota - quota / 4,
            Self::Assembly => quota - quota / 8,
            Self::FirstWaiting => quota - quota / 16,
            Self::Unread => quota,
        }
    }
}

impl Limits {
    /// The deadline of a call with this timeout. 0 means the default.
    #[must_use]
    pub fn timeout(&self, timeout_ms: u32) -> Duration {
        Duration::from_millis(self.timeout_ms(timeout_ms))
    }

    /// The same in milliseconds.
    #[inline]
    pub(crate) fn timeout_ms(&self, timeout_ms: u32) -> u64 {
        let wanted = if timeout_ms == 0 { self.call_default_ms } else { u64::from(timeout_ms) };
        wanted.clamp(1, self.call_max_ms.max(1))
    }

    /// Everything that is wrong with the values. They are compared with each other only when each of them is in range.
    pub(crate) fn mistakes(&self) -> Vec<LimitError> {
        let out_of_range: Vec<_> = self.rows().filter_map(Row::out_of_range).collect();
        if !out_of_range.is_empty() {
            return out_of_range;
        }
        let quotas = [("bytes_per_uid", self.bytes_per_uid), ("bytes_total", self.bytes_total)];
        let too_small = quotas.into_iter().filter_map(|(limit, value)| self.too_small_for_frame(limit, value));
        too_small.chain(self.hard_too_low()).collect()
    }

    fn too_small_for_frame(&self, limit: &'static str, value: u64) -> Option<LimitError> {
        let is_enough = Use::Assembly.part_of(value) >= self.frame_bytes();
        (!is_enough).then_some(LimitError::NoRoomForFrame { limit, value, body: self.body_bytes })
    }

    /// The smallest quota that has room for any frame.
    pub(crate) fn least_quota(&self) -> u64 {
        let frame = self.frame_bytes();
        frame + frame.div_ceil(7) // seven eighths of it are for assembly
    }

    fn hard_too_low(&self) -> Option<LimitError> {
        let (value, soft, body) = (self.unread_hard_bytes, self.unread_soft_bytes, self.body_bytes);
        let least = soft + self.frame_bytes();
        (value < least).then_some(LimitError::HardTooLow { value, least, soft, body })
    }

    /// The most that may wait for a peer with an item of a stream. It leaves room for the largest frame: who doesn't read a stream loses
    /// that, and is not cut for the next thing that it is told.
    pub(crate) fn unread_stream_bytes(&self) -> u64 {
        self.unread_hard_bytes.saturating_sub(self.frame_bytes()).max(self.unread_soft_bytes)
    }

    /// The largest frame there can be.
    pub(crate) fn frame_bytes(&self) -> u64 {
        self.body_bytes + (HEADER_LEN + usize::from(MAX_ROUTING)) as u64
    }
}

impl Row {
    fn out_of_range(self) -> Option<LimitError> {
        let Self { name: limit, value, unit, range, .. } = self;
        (!range.contains(&value)).then_some(LimitError::OutOfRange { limit, value, unit, range })
    }
}

impl LimitError {
    /// The limit to change.
    pub(crate) fn limit(&self) -> &'static str {
        match self {
            Self::OutOfRange { limit, .. } | Self::NoRoomForFrame { limit, .. } => limit,
            Self::HardTooLow { .. } => "unread_hard_bytes",
        }
    }
}

/// The longest time that a limit can give a peer to say hello, finish a frame or finish a call. A longer one would be no limit.
const HOUR_MS: u64 = 3_600_000;
/// The greatest number that a limit can allow: things are counted in 32 bits.
const COUNT: u64 = u32::MAX as u64;
/// The most bytes that a limit can allow: the address space of a process on x86-64. Sums of a few never overflow.
const MEMORY: u64 = 1 << 47;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_good() {
        assert_eq!(Limits::default().mistakes(), []);
    }

    #[test]
    fn a_quota_that_can_never_hold_a_frame_is_refused() {
        let narrow = Limits { bytes_per_uid: 1_200_000, ..Limits::default() };
        let refused = LimitError::NoRoomForFrame { limit: "bytes_per_uid", value: 1_200_000, body: 1_048_576 };
        assert_eq!(narrow.mistakes(), [refused]);
        assert_eq!(Limits { body_bytes: 1_000_000, ..narrow }.mistakes(), []);
    }

    #[test]
    fn every_limit_of_time_has_an_end() {
        let mut limits = Limits::default();
        let times: Vec<_> = limits.rows().map(|row| row.name).filter(|name| name.ends_with("_ms")).collect();
        times.iter().for_each(|name| *limits.get_mut(name).unwrap() = 9_300_000_000_000);
        assert_eq!(limits.mistakes().iter().map(LimitError::limit).collect::<Vec<_>>(), times);
    }

    #[test]
    fn a_connection_is_not_cut_for_the_call_that_the_broker_delivered_to_it() {
        let least = 1_048_576 + 1_048_576 + 32 + 4_096;
        let low = Limits { unread_hard_bytes: least - 1, ..Limits::default() };
        let (soft, body) = (1_048_576, 1_048_576);
        assert_eq!(low.mistakes(), [LimitError::HardTooLow { value: least - 1, least, soft, body }]);
        assert_eq!(Limits { unread_hard_bytes: least, ..low }.mistakes(), []);
    }

    #[test]
    fn zero_is_refused_where_nothing_would_work_with_it() {
        let mut limits = Limits::default();
        let names: Vec<_> = limits.rows().map(|row| row.name).collect();
        names.iter().for_each(|name| *limits.get_mut(name).unwrap() = 0);
        let mistakes = limits.mistakes();
        let may_be_zero: Vec<_> =
            names.into_iter().filter(|name| mistakes.iter().all(|mistake| mistake.limit() != *name)).collect();
        assert_eq!(may_be_zero, ["drain_ms", "connections_reserved", "bytes_guaranteed", "stray_replies"]);
    }

    #[test]
    fn the_longest_deadline_is_kept_whatever_the_default_is() {
        let limits = Limits { call_default_ms: u64::MAX, call_max_ms: 7, ..Limits::default() };
        assert_eq!([0, 1, 8, u32::MAX].map(|ms| limits.timeout(ms).as_millis()), [7, 1, 7, 7]);
    }

    #[test]
    fn the_shortest_deadline_is_a_millisecond() {
        let limits = Limits { call_default_ms: 0, call_max_ms: 0, ..Limits::default() };
        assert_eq!([0, 1, u32::MAX].map(|ms| limits.timeout(ms).as_millis()), [1, 1, 1]);
    }
}
