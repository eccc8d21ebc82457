//! What is worth a line in the log: each event has an id that stays, and fields that a program can read.

use std::fmt;

use ipc_protocol::{Identity, PeerNumber};

/// A line of the log. Bodies are never part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Policy refused an operation.
    Denied {
        /// The user.
        uid: u32,
        /// Its process.
        pid: Option<u32>,
        /// What it wanted.
        operation: String,
    },
    /// A connection was cut.
    Cut {
        /// The peer.
        peer: PeerNumber,
        /// Its user.
        uid: u32,
        /// Its process.
        pid: Option<u32>,
        /// Why.
        reason: String,
    },
    /// A connection was refused.
    Refused {
        /// The user.
        uid: u32,
        /// Its process.
        pid: Option<u32>,
        /// Why.
        reason: String,
    },
}

impl Event {
    pub(crate) fn cut(peer: PeerNumber, identity: &Identity, reason: &impl fmt::Display) -> Self {
        Self::Cut { peer, uid: identity.uid, pid: identity.pid, reason: reason.to_string() }
    }

    /// The user it is about: each has a limited number of lines.
    #[must_use]
    pub fn uid(&self) -> u32 {
        match self {
            Self::Denied { uid, .. } | Self::Cut { uid, .. } | Self::Refused { uid, .. } => *uid,
        }
    }
}

/// `event=cut peer=@7 uid=1000 pid=42 reason="…"`; everything a peer can choose is escaped.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |pid: &Option<u32>| pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
        match self {
            Self::Denied { uid, pid, operation } => {
                write!(f, "event=denied uid={uid} pid={} operation={operation:?}", number(pid))
            }
            Self::Cut { peer, uid, pid, reason } => {
                write!(f, "event=cut peer={peer} uid={uid} pid={} reason={reason:?}", number(pid))
            }
            Self::Refused { uid, pid, reason } => {
                write!(f, "event=refused uid={uid} pid={} reason={reason:?}", number(pid))
            }
        }
    }
}
