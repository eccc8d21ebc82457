//! Refusals: requests that are not granted, without cutting their peer. One match maps each to its error.

use ipc_protocol::{ErrorCode, PeerNumber, Retry, ServiceName, wire::Failure};

use super::streams::Broken;

/// Why a request is refused, or why a call ends without an answer of its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The policy denies it.
    Denied {
        /// The caller's user.
        uid: u32,
    },
    /// No peer offers the name.
    NoService(String),
    /// The peer itself doesn't offer the name, or nothing without one.
    NotOffered(Option<ServiceName>),
    /// There is no such peer, or it takes no calls.
    NoPeer(PeerNumber),
    /// The broker's service has no such operation.
    NoMethod(String),
    /// The caller has as many pending calls as it may.
    CallerBusy(u64),
    /// The name has as many calls as it may.
    ServiceBusy(String, u64),
    /// The caller's user holds too many bytes for another call to wait.
    UserBusy(u64),
    /// The broker holds too many bytes for another call to wait.
    BrokerBusy(u64),
    /// The peer has as many names as it may.
    TooManyNames(u64),
    /// The peer has as many subscriptions as it may.
    TooManySubscriptions(u64),
    /// The patterns of the peer's subscriptions are as long as they may be.
    TooManyPatterns(u64),
    /// The peer holds as many locks as it may, or waits for them.
    TooManyLocks(u64),
    /// The lock has no place for a peer that doesn't wait: its name, and a description of who holds it.
    LockBusy(ServiceName, String),
    /// The peer doesn't hold the lock.
    NoLock(ServiceName),
    /// The user keeps as many bytes of events as it may.
    UserKeeps(u64),
    /// As many bytes of events are kept as may be.
    BrokerKeeps(u64),
    /// The peer has no such subscription.
    NoSubscription(u64),
    /// The topic is the broker's own.
    ReservedTopic(String),
    /// The body is too long.
    TooLarge {
        /// Its length, from the header.
        len: u64,
        /// The limit.
        limit: u64,
    },
    /// The broker is shutting down.
    Draining,
    /// The request to the broker's service is malformed.
    Invalid(String),
    /// What was sent can't be read as a request: the error that its dialect has for that, and what is wrong.
    Malformed(ErrorCode, String),
    /// The request to the broker's service is not JSON.
    NotJson,
    /// The name is the broker's own.
    ReservedName(ServiceName),
    /// Another peer holds the name.
    NameTaken {
        /// The name.
        name: ServiceName,
        /// A description of the peer that holds it.
        holder: String,
    },
    /// The deadline passed.
    Deadline(Progress),
    /// The caller cancelled.
    Cancelled(Progress),
    /// The service died, or took the name back.
    ServiceGone(Progress),
    /// The broker stops for good.
    BrokerLost(Progress),
    /// One side of a stream broke its rules, or did not read.
    Broken(Broken, Progress),
}

/// How far a call had come when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The broker had not delivered it.
    NotDelivered,
    /// A service had received it.
    Delivered,
    /// A service had received it, and this many items of its request.
    Streaming(u64),
}

impl Progress {
    fn retry(self) -> Retry {
        match self {
            Self::NotDelivered => Retry::Safe,
            Self::Delivered | Self::Streaming(_) => Retry::Unknown,
        }
    }

    /// The items of the request that were delivered, if it has any.
    fn items(self) -> Option<u64> {
        match self {
            Self::NotDelivered | Self::Delivered => None,
            Self::Streaming(items) => Some(items),
        }
    }

    /// What happened, and when.
    fn tell(self, what: &str) -> String {
        match self.items() {
            None => what.to_owned(),
            Some(1) => format!("{what}; 1 item of the request was sent on"),
            Some(items) => format!("{what}; {items} items of the request were sent on"),
        }
    }
}

impl Refusal {
    /// The limit that is reached, if it is one.
    pub(crate) fn limit(&self) -> Option<&'static str> {
        match self {
            Self::CallerBusy(_) => Some("calls_per_caller"),
            Self::ServiceBusy(..) => Some("calls_per_service"),
            Self::UserBusy(_) => Some("bytes_per_uid"),
            Self::BrokerBusy(_) => Some("bytes_total"),
            Self::TooManyNames(_) => Some("names_per_peer"),
            Self::TooManySubscriptions(_) => Some("subscriptions_per_peer"),
            Self::TooManyPatterns(_) => Some("pattern_bytes_per_peer"),
            Self::TooManyLocks(_) => Some("locks_per_peer"),
            Self::UserKeeps(_) => Some("retained_bytes_per_uid"),
            Self::BrokerKeeps(_) => Some("retained_bytes"),
            _ => None,
        }
    }

    /// The error for the caller of call `id`.
    pub(crate) fn into_failure<F>(self, id: u64) -> Failure<F> {
        let failure = |code, text: String| Failure::new(id, code, text);
        let ended = |code, progress: Progress, what: &str| Failure {
            retry: progress.retry(),
            delivered: progress.items(),
            ..Failure::new(id, code, progress.tell(what))
        };
        match self {
            Self::Denied { uid } => failure(
                ErrorCode::DENIED,
                format!("user {uid} may not use this broker: only its own user and root may"),
            ),
            Self::NoService(name) => failure(ErrorCode::NO_SERVICE, format!("no process offers '{name}'")),
            Self::NotOffered(name) => failure(
                ErrorCode::NO_SERVICE,
                name.map_or_else(
                    || "this connection offers nothing without a name".to_owned(),
                    |name| format!("this connection doesn't offer '{name}'"),
                ),
            ),
            Self::NoPeer(peer) => failure(ErrorCode::NO_SERVICE, format!("there is no peer {peer} that takes calls")),
            Self::NoMethod(name) => failure(ErrorCode::NO_METHOD, format!("the broker has no operation '{name}'")),
            Self::CallerBusy(limit) => {
                failure(ErrorCode::BUSY, format!("the caller waits for {limit} calls already, its limit"))
            }
            Self::ServiceBusy(name, limit) => {
                failure(ErrorCode::BUSY, format!("'{name}' has {limit} calls already, its limit"))
            }
            Self::UserBusy(limit) => failure(
                ErrorCode::BUSY,
                format!("this user's share of the broker is full: at most {limit} bytes may wait"),
            ),
            Self::BrokerBusy(limit) => {
                failure(ErrorCode::BUSY, format!("the broker is full: at most {limit} bytes may wait"))
            }
            Self::TooManyNames(limit) => failure(ErrorCode::BUSY, format!("a connection offers at most {limit} names")),
            Self::TooManySubscriptions(limit) => {
                failure(ErrorCode::BUSY, format!("a connection has at most {limit} subscriptions"))
            }
            Self::TooManyPatterns(limit) => {
                failure(ErrorCode::BUSY, format!("the patterns of a connection have at most {limit} bytes"))
            }
            Self::TooManyLocks(limit) => {
                failure(ErrorCode::BUSY, format!("a connection has at most {limit} locks, held or waited for"))
            }
            Self::LockBusy(name, holder) => failure(ErrorCode::BUSY, format!("the lock '{name}' is held by {holder}")),
            Self::NoLock(name) => {
                failure(ErrorCode::NO_SERVICE, format!("this connection does not hold the lock '{name}'"))
            }
            Self::UserKeeps(limit) => failure(
                ErrorCode::BUSY,
                format!(
                    "this user's kept events have at most {limit} bytes: clear a topic, or publish without retaining"
                ),
            ),
            Self::BrokerKeeps(limit) => {
                failure(ErrorCode::BUSY, format!("the broker keeps at most {limit} bytes of events: clear a topic"))
            }
            Self::NoSubscription(number) => {
                failure(ErrorCode::NO_SERVICE, format!("this connection has no subscription {number}"))
            }
            Self::ReservedTopic(topic) => {
                failure(ErrorCode::DENIED, format!("only the broker itself publishes on '{topic}'"))
            }
            Self::TooLarge { len, limit } => {
                failure(ErrorCode::TOO_LARGE, format!("the body has {len} bytes, at most {limit} are taken"))
            }
            Self::Draining => failure(ErrorCode::UNAVAILABLE, "the broker is shutting down".to_owned()),
            Self::Invalid(reason) => failure(ErrorCode::INVALID, reason),
            Self::Malformed(code, reason) => failure(code, reason),
            Self::NotJson => failure(
                ErrorCode::UNSUPPORTED_ENCODING,
                "the broker's own service takes json (or bytes that are json)".to_owned(),
            ),
            Self::ReservedName(name) => failure(ErrorCode::DENIED, format!("'{name}' is a name of the broker itself")),
            Self::NameTaken { name, holder } => failure(ErrorCode::NAME_TAKEN, format!("'{name}' is held by {holder}")),
            Self::Deadline(progress) => ended(ErrorCode::DEADLINE, progress, "no answer came before the deadline"),
            Self::Cancelled(progress) => ended(ErrorCode::CANCELLED, progress, "the caller cancelled"),
            Self::ServiceGone(progress) => ended(ErrorCode::SERVICE_GONE, progress, "the service went away"),
            Self::BrokerLost(progress) => ended(ErrorCode::BROKER_LOST, progress, "the broker shuts down"),
            Self::Broken(why, progress) => ended(why.code(), progress, &why.to_string()),
        }
    }
}

/// The end of a call whose answer exceeds the limit.
pub(crate) fn long_answer<F>(id: u64, len: u64, limit: u64) -> Failure<F> {
    let text = format!("the service's answer has {len} bytes, at most {limit} pass");
    Failure { retry: Retry::Unknown, ..Failure::new(id, ErrorCode::TOO_LARGE, text) }
}
