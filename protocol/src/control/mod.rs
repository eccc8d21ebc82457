//! The operations of the broker's own service `ipc`: ordinary calls with JSON bodies, so that every dialect has them at once.
//!
//! JSON, because these types must be able to grow: members are only ever added, and a reader ignores those it does not know.

pub mod operation;

use serde::{Deserialize, Serialize};

use crate::wire::name::{MethodName, PeerNumber, ServiceName};

pub use operation::Operation;

/// Name of the broker's own service.
pub const SERVICE: &str = "ipc";

/// `ipc.register`: the calling peer offers a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// The name, or none to be callable as `@N` alone.
    #[serde(default)]
    pub name: Option<ServiceName>,
    /// Calls the instance takes at once; the broker delivers no more. At least 1.
    #[serde(default = "one")]
    pub window: u32,
    /// Whether other instances may share the name.
    #[serde(default)]
    pub shared: bool,
    /// Methods the instance answers, for `show`; empty when it does not say.
    #[serde(default)]
    pub methods: Vec<MethodName>,
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
    /// The name; none for the anonymous registration.
    #[serde(default)]
    pub name: Option<ServiceName>,
}

/// `ipc.list`: the names on offer, a page at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Only names that the pattern stands for.
    #[serde(default)]
    pub pattern: Option<crate::Pattern>,
    /// Continue after this name: the `next` of the page before.
    #[serde(default)]
    pub after: Option<ServiceName>,
}

/// A page of names, sorted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// The names.
    pub names: Vec<ServiceName>,
    /// What to ask `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<ServiceName>,
}

/// `ipc.show`: everything about one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Show {
    /// The name.
    pub name: ServiceName,
}

/// Answer to [`Show`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The name.
    pub name: ServiceName,
    /// Whether several instances may share it.
    pub shared: bool,
    /// Methods it answers, as far as its instances said.
    pub methods: Vec<MethodName>,
    /// Calls waiting in the name's queue.
    pub queued: u32,
    /// Calls delivered since the name appeared.
    pub calls: u64,
    /// The processes behind it.
    pub instances: Vec<Instance>,
}

/// One process behind a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its peer's number.
    pub peer: PeerNumber,
    /// Its user.
    pub uid: u32,
    /// Its process, unless it lives in a pid namespace the broker cannot see.
    pub pid: Option<u32>,
    /// Its program and version, as it said itself.
    pub agent: String,
    /// Calls it takes at once.
    pub window: u32,
    /// Calls it is working on.
    pub in_flight: u32,
}

/// `ipc.peers`: the connections, a page at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// Continue after this peer: the `next` of the page before.
    #[serde(default)]
    pub after: Option<PeerNumber>,
}

/// A page of peers, in the order in which they connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerPage {
    /// The peers.
    pub peers: Vec<PeerRow>,
    /// What to ask `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<PeerNumber>,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRow {
    /// Its number: `@N` addresses a call to it.
    pub peer: PeerNumber,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its process, unless it lives in a pid namespace the broker cannot see.
    pub pid: Option<u32>,
    /// Its program and version, as it said itself.
    pub agent: String,
    /// Names it offers.
    pub names: Vec<ServiceName>,
    /// Calls it waits for.
    pub pending: u32,
    /// Calls it is working on.
    pub in_flight: u32,
    /// Bytes that wait until it reads them.
    pub unread_bytes: u64,
    /// How long it has been connected, in milliseconds.
    pub connected_ms: u64,
}

/// `ipc.stats`: counters since the broker started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// One row a counter.
    pub stats: Vec<StatRow>,
}

/// A counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatRow {
    /// Its name; never renamed.
    pub name: String,
    /// Its value.
    pub value: u64,
    /// What it counts.
    pub unit: String,
}

/// `ipc.limits`: every limit with its use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// One row a limit.
    pub limits: Vec<LimitRow>,
}

/// A limit and how much of it is used. For a limit per peer, name or uid: by the one that uses most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitRow {
    /// Its name, as in the configuration file.
    pub name: String,
    /// Its value.
    pub value: u64,
    /// What it counts.
    pub unit: String,
    /// How much is in use; absent for limits of a single frame or call.
    #[serde(default)]
    pub used: Option<u64>,
    /// The most that was ever in use.
    #[serde(default)]
    pub peak: Option<u64>,
}

/// `ipc.wait`: answers when a name appears, or goes. Ends with `deadline` if that does not happen in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// The name. A target `a.b` is satisfied by service `a.b` or, as a method, by `a`.
    pub name: ServiceName,
    /// Wait until nothing offers the name, instead of until something does.
    #[serde(default)]
    pub gone: bool,
    /// Whether the last label may be a method, so that the name without it will do.
    #[serde(default)]
    pub target: bool,
}

/// `ipc.ping`, and every other operation that has nothing to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

fn one() -> u32 {
    1
}
