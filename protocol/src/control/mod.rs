//! The operations of the broker's own service `ipc`: ordinary calls with JSON bodies, so every dialect has them.
//!
//! JSON, because these types must be able to grow: members are only ever added, and a reader ignores those it doesn't know.

mod count;
pub mod events;
pub mod locks;
pub mod operation;

use serde::{Deserialize, Serialize};

use crate::wire::{
    fingerprint::Fingerprint,
    name::{MethodName, PeerNumber, ServiceName},
};

pub use events::{
    InstanceEvent, Keeping, LimitEvent, NameEvent, PeerEvent, Published, Subscribe, Subscribed, TopicPage, TopicRow,
    Topics, Unsubscribe,
};
pub use locks::{Lock, LockShown, LockWaiter, Unlock};
pub use operation::Operation;

/// Name of the broker's own service.
pub const SERVICE: &str = "ipc";

/// `ipc.register`: the calling peer offers a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// The name, or none to be callable as `@N` alone.
    #[serde(default)]
    pub name: Option<ServiceName>,
    /// Calls the instance takes at once; the broker delivers no more. 0 is refused.
    #[serde(default = "count::one", deserialize_with = "count::at_least_one")]
    pub window: u32,
    /// Whether other instances may share the name.
    #[serde(default)]
    pub shared: bool,
    /// Whether it takes calls with streams. All instances of a shared name must agree.
    #[serde(default)]
    pub streams: bool,
    /// Methods the instance answers, for `show`; empty if it doesn't say.
    #[serde(default)]
    pub methods: Vec<MethodName>,
    /// Fingerprint of its description, if it answers the method [`DESCRIBE`](crate::DESCRIBE).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Fingerprint>,
}

/// Answer to [`Register`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The number under which the peer can be called directly.
    pub peer: PeerNumber,
}

/// `ipc.unregister`: the calling peer gives a name back. Calls in its queue go to another instance or end with `service_gone`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unregister {
    /// The name; none for the registration without a name.
    #[serde(default)]
    pub name: Option<ServiceName>,
}

/// `ipc.list`: the names on offer, a page at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Only names that match.
    #[serde(default)]
    pub pattern: Option<crate::Pattern>,
    /// Continue after this name: `next` of the previous page.
    #[serde(default)]
    pub after: Option<ServiceName>,
}

/// A page of names, sorted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Up to 32 of them.
    pub names: Vec<ServiceName>,
    /// What to pass as `after` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<ServiceName>,
}

/// `ipc.show`: everything about one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Show {
    /// A name as it was registered, without a method.
    pub name: ServiceName,
}

/// Answer to [`Show`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// As asked for.
    pub name: ServiceName,
    /// Whether several instances may share it.
    pub shared: bool,
    /// Methods that its instances said they answer, sorted.
    pub methods: Vec<MethodName>,
    /// Calls waiting in the name's queue.
    pub queued: u32,
    /// Calls delivered since the name appeared.
    pub calls: u64,
    /// The processes behind it, up to 32 of them; none if there is only a lock of that name.
    pub instances: Vec<Instance>,
    /// The lock of that name, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockShown>,
}

/// One process behind a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its number: `@N` calls this one.
    pub peer: PeerNumber,
    /// Effective user id at connect.
    pub uid: u32,
    /// Process id at connect; none if it is in a pid namespace that the broker can't see.
    pub pid: Option<u32>,
    /// Program and version, as it claims: never checked.
    pub agent: String,
    /// Calls it takes at once.
    pub window: u32,
    /// Calls it is working on.
    pub in_flight: u32,
    /// Fingerprint of its description, if it has one: two instances with the same one are described alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Fingerprint>,
}

/// `ipc.peers`: the connections, a page at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// Continue after this peer: `next` of the previous page.
    #[serde(default)]
    pub after: Option<PeerNumber>,
}

/// A page of peers, in the order in which they connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerPage {
    /// Up to 32 of them.
    pub peers: Vec<PeerRow>,
    /// What to ask `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<PeerNumber>,
}

/// One connection, as `ipc.peers` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRow {
    /// Its number: `@N` addresses a call to it.
    pub peer: PeerNumber,
    /// Its user.
    pub uid: u32,
    /// Effective group id at connect.
    pub gid: u32,
    /// Its process, unless it lives in a pid namespace the broker cannot see.
    pub pid: Option<u32>,
    /// Its program and version, as it said itself.
    pub agent: String,
    /// Names it offers, up to 64 of them.
    pub names: Vec<ServiceName>,
    /// Calls it waits for.
    pub pending: u32,
    /// Calls it is working on.
    pub in_flight: u32,
    /// Bytes that it hasn't read yet.
    pub unread_bytes: u64,
    /// How long it has been connected, in milliseconds.
    pub connected_ms: u64,
}

/// `ipc.stats`: counters since the broker started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// A row for each counter.
    pub stats: Vec<StatRow>,
}

/// A counter, from 0 at the broker's start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatRow {
    /// Its name; never renamed.
    pub name: String,
    /// The count.
    pub value: u64,
    /// What is counted, such as `calls` or `bytes`.
    pub unit: String,
}

/// `ipc.limits`: every limit with its use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// A row for each limit, in the order of the configuration.
    pub limits: Vec<LimitRow>,
}

/// A limit and how much of it is in use: for a limit per peer, name or uid, by the one that uses most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitRow {
    /// Its name, as in the configuration file.
    pub name: String,
    /// The limit itself.
    pub value: u64,
    /// What is limited, such as `bytes` or `ms`.
    pub unit: String,
    /// How much is in use; absent for limits of a single frame or call.
    #[serde(default)]
    pub used: Option<u64>,
    /// The most that was ever in use.
    #[serde(default)]
    pub peak: Option<u64>,
    /// Bytes of memory, once all that it allows is there; absent where they are counted under another limit.
    #[serde(default)]
    pub worst: Option<u64>,
}

/// `ipc.wait`: answers when a name appears, or goes. Ends with `deadline` if that doesn't happen in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// What to wait for. As a target, `a.b` is satisfied by service `a.b` or, with method `b`, by service `a`.
    pub name: ServiceName,
    /// Wait until the name is no longer offered, instead of until it is.
    #[serde(default)]
    pub gone: bool,
    /// Whether the name is a target: its last label may be a method.
    #[serde(default)]
    pub target: bool,
}

/// An object without members: the request or answer of an operation that needs none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn a_window_of_nothing_is_refused_and_named() {
        let register = |body: &str| json::decode_object::<Register>(body.as_bytes());
        assert_eq!(register(r#"{"window":1}"#).unwrap().window, 1);
        assert_eq!(register("{}").unwrap().window, 1);
        assert!(register(r#"{"window":0}"#).unwrap_err().to_string().contains("window: must be at least 1"));
        assert!(register(r#"{"window":-1}"#).unwrap_err().to_string().contains("window: invalid value"));
    }
}
