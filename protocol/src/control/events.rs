//! The operations on subscriptions and topics, and the broker's own events.

use serde::{Deserialize, Serialize};

use crate::wire::{
    header::Encoding,
    name::{PeerNumber, ServiceName, Topic},
    pattern::Pattern,
};

/// `ipc.subscribe`: the calling peer receives the events of a pattern of topics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    /// The topics. Those of the broker only match a pattern whose first label is `ipc`.
    pub pattern: Pattern,
    /// What happens to events while the peer doesn't keep up.
    #[serde(default)]
    pub policy: Keeping,
    /// Events that wait for the peer at most; the broker may allow fewer.
    #[serde(default = "queue")]
    pub queue: u32,
    /// Whether the last event of each topic is delivered first, where it was kept.
    #[serde(default)]
    pub last: bool,
}

/// Which events of a subscription are kept while its peer doesn't keep up. The peer is told how many were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeping {
    /// The newest ones.
    #[default]
    DropOldest,
    /// The oldest ones.
    DropNewest,
    /// The newest one of each topic.
    Latest,
    /// All of them: a peer that doesn't keep up is cut.
    Cut,
}

/// Answer to [`Subscribe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribed {
    /// The number of the subscription, which its events carry.
    pub subscription: u64,
}

/// `ipc.unsubscribe`: ends a subscription. No event of it follows the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsubscribe {
    /// Its number.
    pub subscription: u64,
}

/// Answer to an event that wants one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Subscriptions that it was sent to.
    pub subscribers: u32,
}

/// `ipc.topics`: the topics whose last event is kept, a page at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topics {
    /// Only topics that match.
    #[serde(default)]
    pub pattern: Option<Pattern>,
    /// Continue after this topic: `next` of the previous page.
    #[serde(default)]
    pub after: Option<Topic>,
}

/// A page of topics, sorted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicPage {
    /// Up to 32 of them.
    pub topics: Vec<TopicRow>,
    /// What to pass as `after` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Topic>,
}

/// A topic whose last event is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicRow {
    /// The topic.
    pub topic: Topic,
    /// The user who published the event, and pays for it.
    pub uid: u32,
    /// Encoding of its body.
    pub encoding: Encoding,
    /// Bytes of its body.
    pub bytes: u64,
    /// How long ago it was published, in milliseconds.
    pub age_ms: u64,
}

fn queue() -> u32 {
    1_024
}

/// Body of `ipc.name.added` and `ipc.name.removed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameEvent {
    /// The name that is on offer, or no longer.
    pub name: ServiceName,
}

/// Body of `ipc.instance.added` and `ipc.instance.removed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceEvent {
    /// The name, or none of a peer that is only callable as `@N`.
    pub name: Option<ServiceName>,
    /// The peer that offers it, or no longer does.
    pub peer: PeerNumber,
}

/// Body of `ipc.peer.connected` and `ipc.peer.gone`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerEvent {
    /// Its number.
    pub peer: PeerNumber,
    /// Its user.
    pub uid: u32,
    /// Its process, unless it lives in a pid namespace that the broker can't see.
    pub pid: Option<u32>,
}

/// Body of `ipc.limit.reached`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitEvent {
    /// The limit, by its name in the configuration.
    pub limit: String,
    /// The user who asked for more.
    pub uid: Option<u32>,
}
