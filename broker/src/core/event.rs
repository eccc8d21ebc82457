//! Log events. Each has a name that never changes, and fields that a program can read.

use std::fmt;

use ipc_protocol::{Identity, PeerNumber};

use super::policy::{Request, Rule};

/// A line of the log. It never contains a body.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A connection was accepted: a detail.
    Connected(Party),
    /// A connection is closed, for whatever reason: a detail.
    Closed(Party),
    /// A connection was refused.
    Refused {
        /// Who tried to connect.
        from: Party,
        /// The limit that is reached.
        reason: NoPlace,
    },
    /// A connection was cut.
    Cut {
        /// The peer at its other end.
        from: Party,
        /// What its peer did wrong.
        reason: String,
    },
    /// Policy refused an operation.
    Denied {
        /// Who tried.
        from: Party,
        /// What was tried.
        operation: String,
        /// The rule that refused it.
        rule: Rule,
    },
}

/// The subject of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party {
    /// Its number, if it has or had a connection.
    pub peer: Option<PeerNumber>,
    /// Its user.
    pub uid: u32,
    /// Its process, unless it is in a pid namespace that the broker can't see.
    pub pid: Option<u32>,
}

/// Why a connection isn't accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoPlace {
    /// The broker drains.
    #[error("the broker is shutting down")]
    Draining,
    /// The limit `connections`.
    #[error("the broker has {open} connections, its limit is {limit}; try again")]
    Full {
        /// Open connections.
        open: u64,
        /// Its value.
        limit: u64,
    },
    /// The limit `connections_per_uid`.
    #[error("user {uid} has {open} connections, its limit; close some")]
    UserFull {
        /// The user.
        uid: u32,
        /// Its open connections.
        open: u64,
    },
    /// The limit `connects_strangers`.
    #[error("user {uid}, who may do nothing here, connects too often; try again later")]
    TooOften {
        /// The user.
        uid: u32,
    },
}

impl NoPlace {
    /// The limit that is reached, if it is one.
    pub(crate) fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Draining => None,
            Self::Full { .. } => Some("connections"),
            Self::UserFull { .. } => Some("connections_per_uid"),
            Self::TooOften { .. } => Some("connects_strangers"),
        }
    }
}

impl Event {
    /// A denial of what `peer` asked for, if it was a connection that asked.
    pub(crate) fn denied(request: &Request<'_>, rule: Rule, peer: Option<PeerNumber>) -> Self {
        let Request { identity, operation, service, method, topic } = request;
        let target = match (method.is_empty(), topic.is_empty()) {
            (_, false) => topic.to_vec(),
            (true, true) => service.to_vec(),
            (false, true) => [service, &b"."[..], method].concat(),
        };
        let operation = format!("{operation} {}", target.escape_ascii());
        Self::Denied { from: Party::new(peer, identity), operation, rule }
    }

    /// The user that it is about. Each user has a limited number of lines.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.party().uid
    }

    /// Whether it is routine, and logged only on request (`-v`).
    #[must_use]
    pub fn is_detail(&self) -> bool {
        matches!(self, Self::Connected(_) | Self::Closed(_))
    }

    fn party(&self) -> &Party {
        match self {
            Self::Connected(party) | Self::Closed(party) => party,
            Self::Refused { from, .. } | Self::Cut { from, .. } | Self::Denied { from, .. } => from,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Connected(_) => "connected",
            Self::Closed(_) => "closed",
            Self::Refused { .. } => "refused",
            Self::Cut { .. } => "cut",
            Self::Denied { .. } => "denied",
        }
    }
}

impl Party {
    pub(crate) fn new(peer: Option<PeerNumber>, identity: &Identity) -> Self {
        Self { peer, uid: identity.uid, pid: identity.pid }
    }
}

/// `event=cut peer=@7 uid=1000 pid=42 reason="…"`; everything a peer can choose is escaped.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event={} {}", self.name(), self.party())?;
        match self {
            Self::Connected(_) | Self::Closed(_) => Ok(()),
            Self::Refused { reason, .. } => write!(f, " reason={:?}", reason.to_string()),
            Self::Cut { reason, .. } => write!(f, " reason={reason:?}"),
            Self::Denied { operation, rule, .. } => write!(f, " operation={operation:?} rule={rule}"),
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(peer) = self.peer {
            write!(f, "peer={peer} ")?;
        }
        match self.pid {
            Some(pid) => write!(f, "uid={} pid={pid}", self.uid),
            None => write!(f, "uid={} pid=unknown", self.uid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_can_choose_stays_in_one_field() {
        let from = Party { peer: Some(PeerNumber(7)), uid: 1000, pid: None };
        let denied = Event::Denied { from, operation: "call \"x\"\nevent=forged".to_owned(), rule: Rule::Default };
        assert_eq!(
            denied.to_string(),
            r#"event=denied peer=@7 uid=1000 pid=unknown operation="call \"x\"\nevent=forged" rule=default"#
        );
    }
}
