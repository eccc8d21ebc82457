//! Every limit of the broker: one struct, each with its unit, its default and the reason for it.

use std::time::Duration;

use ipc_protocol::limits::{HEADER_LEN, MAX_ROUTING};
use serde::{Deserialize, Serialize};

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident = $default:literal $unit:literal,)*) => {
        /// The limits in force. Configuration files name them as they are named here, in section `[limits]`.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
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
            /// Name, value and unit of each limit.
            pub fn rows(&self) -> impl Iterator<Item = (&'static str, u64, &'static str)> {
                [$((stringify!($name), self.$name, $unit),)*].into_iter()
            }
        }
    };
}

limits! {
    /// Bytes of a body sent inline. At most the 1 MiB that the protocol allows: larger bodies would make one sender's turn long.
    body_bytes = 1_048_576 "bytes",
    /// How long a connection may take until its hello. A silent connection costs a descriptor and about 1 KiB.
    hello_ms = 5_000 "ms",
    /// How long a begun frame may take until it is complete: an assembled frame holds up to `body_bytes`.
    frame_ms = 10_000 "ms",
    /// Deadline of a call that names none.
    call_default_ms = 30_000 "ms",
    /// Longest deadline of a call; a longer one is cut to it. A forgotten call holds a slot of about 150 bytes that long.
    call_max_ms = 3_600_000 "ms",
    /// How long calls may take to finish once the broker was told to stop.
    drain_ms = 5_000 "ms",
    /// Connections in all; lowered at start to the descriptors there are, less 256. About 1 KiB each while idle.
    connections = 16_384 "connections",
    /// Connections of one user, root excepted: one desktop user needs more than D-Bus's 256.
    connections_per_uid = 512 "connections",
    /// Connections, of `connections`, that only root and the broker's own user can take: an administrator gets in when it is full.
    connections_reserved = 16 "connections",
    /// Bytes that wait for one connection, above which no further calls are delivered to it (they wait in the name's queue).
    unread_soft_bytes = 1_048_576 "bytes",
    /// Bytes that wait for one connection, above which it is cut: replies to somebody who does not read them.
    unread_hard_bytes = 4_194_304 "bytes",
    /// Bytes that the connections and calls of one user hold: unread frames, calls that wait, registrations, frames being put
    /// together. Calls wait up to three quarters of it, frames are put together up to seven eighths: answers always find room.
    bytes_per_uid = 33_554_432 "bytes",
    /// The same for all users together: the most memory that traffic can take.
    bytes_total = 268_435_456 "bytes",
    /// Calls that one caller waits for. CVE-2014-3638 of D-Bus was their being unlimited.
    calls_per_caller = 1_024 "calls",
    /// Calls of one name: in its queue and being worked on.
    calls_per_service = 4_096 "calls",
    /// Names of one connection.
    names_per_peer = 64 "names",
    /// Replies to calls that were never delivered, after which a peer is cut.
    stray_replies = 16 "replies",
    /// Frames that one peer is served before it is the next one's turn.
    turn_frames = 16 "frames",
    /// Connections waiting to be accepted. The kernel lowers it to net.core.somaxconn.
    backlog = 4_096 "connections",
}

impl Limits {
    /// The deadline of a call that asked for `timeout_ms` (0: it did not ask).
    #[must_use]
    pub fn timeout(&self, timeout_ms: u32) -> Duration {
        let wanted = if timeout_ms == 0 { self.call_default_ms } else { u64::from(timeout_ms) };
        Duration::from_millis(wanted.clamp(1, self.call_max_ms.max(1)))
    }

    /// What is wrong with the values, if anything: they come from a file.
    pub fn check(&self) -> Result<(), String> {
        let protocol_body = u64::from(ipc_protocol::limits::MAX_BODY);
        if self.body_bytes > protocol_body {
            return Err(format!("body_bytes = {} is over the protocol's {protocol_body}", self.body_bytes));
        }
        if self.unread_soft_bytes > self.unread_hard_bytes {
            return Err("unread_soft_bytes must not be over unread_hard_bytes".to_owned());
        }
        let frame = self.body_bytes + (HEADER_LEN + usize::from(MAX_ROUTING)) as u64;
        let holds_a_frame = |(_, quota): &(&str, u64)| Use::Assembly.part_of(*quota) >= frame;
        let quotas = [("bytes_per_uid", self.bytes_per_uid), ("bytes_total", self.bytes_total)];
        if let Some((name, quota)) = quotas.into_iter().find(|quota| !holds_a_frame(quota)) {
            return Err(format!("{name} = {quota} has no room for a body of {} bytes (body_bytes)", self.body_bytes));
        }
        if self.call_max_ms > u64::from(ipc_protocol::limits::MAX_TIMEOUT_MS) {
            return Err(format!("call_max_ms must not be over {}", ipc_protocol::limits::MAX_TIMEOUT_MS));
        }
        match self.rows().find(|(name, value, _)| *value == 0 && !MAY_BE_ZERO.contains(name)) {
            Some((name, ..)) => Err(format!("{name} must not be 0")),
            None => Ok(()),
        }
    }
}

/// What bytes are used for. What can be refused or can wait stops short of the quota: an answer can do neither, and calls would
/// otherwise wait for answers that find no room because of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A call in a queue, a wait for a name, a registration: up to three quarters.
    Waiting,
    /// A frame that is put together: up to seven eighths.
    Assembly,
    /// A frame on its way to its receiver.
    Unread,
}

impl Use {
    /// How far it may fill a quota.
    pub(crate) fn part_of(self, quota: u64) -> u64 {
        match self {
            Self::Waiting => quota - quota / 4,
            Self::Assembly => quota - quota / 8,
            Self::Unread => quota,
        }
    }
}

const MAY_BE_ZERO: &[&str] = &["connections_reserved", "drain_ms", "stray_replies"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_good() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn a_quota_that_can_never_hold_a_frame_is_refused() {
        let narrow = Limits { bytes_per_uid: 1_200_000, ..Limits::default() };
        assert!(narrow.check().unwrap_err().starts_with("bytes_per_uid = 1200000 has no room"));
        assert_eq!(Limits { body_bytes: 1_000_000, ..narrow }.check(), Ok(()));
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
