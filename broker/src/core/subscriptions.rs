//! Subscriptions: who receives the events of which topics, and what happens to those that a peer doesn't keep up with.

use ipc_protocol::{Pattern, control};
use serde::{Deserialize, Serialize};

use super::{
    ids::{OfSubscription, PeerId, SubscriptionId},
    item,
    list::{Link, Node},
    table::Table,
    topics::{self, Spot, Topics},
};

/// All subscriptions.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Subscriptions {
    table: Table<OfSubscription, Subscription>,
    topics: Topics,
    /// Subscriptions that still receive kept events.
    catching_up: usize,
}

/// One subscription of a peer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Subscription {
    pub(crate) peer: PeerId,
    pub(crate) pattern: Pattern,
    pub(crate) policy: control::Keeping,
    /// The most events that wait.
    pub(crate) queue: u32,
    /// The kept events that it has still to receive.
    pub(crate) backlog: Option<Backlog>,
    spot: Option<Spot>,
    link: Link<OfSubscription>,
}

/// How far a subscription has come with kept events, which it receives as its peer reads them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Backlog {
    /// The last topic that was looked at.
    pub(crate) after: Option<Box<str>>,
    /// Topics with a later event are left out: the subscription has received that.
    pub(crate) until: u64,
}

impl Subscriptions {
    pub(crate) fn new() -> Self {
        Self { table: Table::new(), topics: Topics::new(), catching_up: 0 }
    }

    /// Adds a subscription.
    pub(crate) fn add(
        &mut self,
        peer: PeerId,
        request: control::Subscribe,
        backlog: Option<Backlog>,
    ) -> SubscriptionId {
        let control::Subscribe { pattern, policy, queue, .. } = request;
        self.catching_up += usize::from(backlog.is_some());
        let row = Subscription { peer, pattern, policy, queue, backlog, spot: None, link: Link::default() };
        let id = self.table.insert(row);
        if let Some(pattern) = self.table.get(id).map(|row| row.pattern.clone()) {
            let spot = self.topics.add(&mut self.table, &pattern, id);
            if let Some(row) = self.table.get_mut(id) {
                row.spot = Some(spot);
            }
        }
        id
    }

    /// Removes a subscription.
    pub(crate) fn remove(&mut self, id: SubscriptionId) -> Option<Subscription> {
        self.end_backlog(id);
        if let Some(spot) = self.table.get(id)?.spot {
            self.topics.remove(&mut self.table, spot, id);
        }
        self.table.remove(id)
    }

    pub(crate) fn get(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.table.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: SubscriptionId) -> Option<&mut Subscription> {
        self.table.get_mut(id)
    }

    /// A subscription has received all kept events.
    pub(crate) fn end_backlog(&mut self, id: SubscriptionId) {
        let ended = self.table.get_mut(id).and_then(|row| row.backlog.take());
        self.catching_up -= usize::from(ended.is_some());
    }

    /// Whether any subscription has still to receive kept events.
    #[inline]
    pub(crate) fn are_catching_up(&self) -> bool {
        self.catching_up > 0
    }

    /// Appends the subscriptions of a topic. Returns the steps that it took.
    pub(crate) fn of_topic(&self, topic: &str, found: &mut Vec<SubscriptionId>) -> usize {
        self.topics.find(&self.table, topic, found)
    }

    /// Whether any is about the broker's own topics.
    #[inline]
    pub(crate) fn has_own(&self) -> bool {
        self.topics.has_own()
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn is_roomy(&self) -> bool {
        self.table.is_roomy() || self.topics.is_roomy()
    }

    /// Gives back memory of subscriptions that are gone.
    pub(crate) fn give_back(&mut self) {
        self.table.give_back();
        self.topics.give_back();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SubscriptionId, &Subscription)> {
        self.table.iter()
    }

    /// Checks the tables. For the invariants.
    ///
    /// # Panics
    /// If they do not fit each other.
    pub(crate) fn assert_whole(&self) {
        self.topics.assert_whole(&self.table, self.table.len(), |row, spot| row.spot == Some(spot));
        let catching_up = self.table.iter().filter(|(_, row)| row.backlog.is_some()).count();
        assert_eq!(catching_up, self.catching_up, "subscriptions that receive kept events");
    }
}

impl Subscription {
    /// The bytes charged for it: its row, its pattern, and the gap that may wait for its peer.
    pub(crate) fn charge(&self) -> usize {
        charge_of(&self.pattern)
    }
}

/// The bytes charged for a subscription to a pattern.
pub(crate) fn charge_of(pattern: &Pattern) -> usize {
    const ROW: usize = 192;
    ROW + item::ITEM + topics::charge_of(pattern)
}

impl Node for Subscription {
    type Kind = OfSubscription;
    type Role = ();

    fn link(&self, (): ()) -> &Link<OfSubscription> {
        &self.link
    }

    fn link_mut(&mut self, (): ()) -> &mut Link<OfSubscription> {
        &mut self.link
    }
}
