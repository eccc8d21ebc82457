//! Peers: one row per connection, as the core sees it.

use std::collections::BTreeMap;

use bytes::Bytes;
use ipc_protocol::{Identity, PeerNumber, Routing, control};
use serde::{Deserialize, Serialize};

use super::{
    ids::{AccountId, InstanceId, LockId, NameId, OfPeer, PeerId, SubscriptionId},
    input::Begun,
    list::{Link, Node},
    moment::Moment,
    pending::Pending,
    policy::Effect,
    table::Table,
    wheel::{Timed, Wheel},
};

/// One connection.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub(crate) number: PeerNumber,
    pub(crate) identity: Identity,
    /// The account that is charged for what it causes.
    pub(crate) account: AccountId,
    /// The identity, encoded as in delivered calls.
    pub(crate) stamp: Bytes,
    pub(crate) stage: Stage,
    /// Program and version, as the peer itself states them.
    pub(crate) agent: String,
    pub(crate) connected: Moment,
    /// The highest call id so far.
    pub(crate) last_call: u64,
    /// The route of its last call.
    pub(crate) route: Option<Route>,
    /// Calls that it waits for.
    pub(crate) pending: Pending,
    /// Its registrations in order. The first one takes calls to `@N`.
    pub(crate) instances: Vec<InstanceId>,
    /// Its subscriptions in order.
    pub(crate) subscriptions: Vec<SubscriptionId>,
    /// Bytes of their patterns.
    pub(crate) patterns: u64,
    /// The locks that it holds or waits for.
    pub(crate) locks: Vec<LockId>,
    /// Events that it has published.
    pub(crate) published: u64,
    /// The cost of the items sent to it that the kernel has not taken yet.
    pub(crate) unread: usize,
    /// The part of `unread` that its socket left at the last write. Zero for a peer that reads.
    pub(crate) backlog: usize,
    /// Memory that the kernel holds for it, of what it has not read.
    pub(crate) sunk: usize,
    /// Whether it has read nothing of that for a while.
    pub(crate) is_stuck: bool,
    /// Bytes that the front keeps for its calls.
    pub(crate) kept: usize,
    /// Its incomplete frame.
    pub(crate) frame: Option<Frame>,
    /// Replies to calls that were never delivered to it.
    pub(crate) strays: u32,
    /// Whether it has said hello.
    pub(crate) has_greeted: bool,
    /// Whether its user may do anything.
    pub(crate) effect: Effect,
    /// Whether it waits for its turn.
    pub(crate) in_line: bool,
    /// Work that it may do before the next peer of its user. Below zero after more work than that.
    pub(crate) credit: i64,
    /// Whether a denial was logged for it, which happens only once.
    pub(crate) denied: bool,
    due: Moment,
    armed: bool,
    link: Link<OfPeer>,
}

/// The stages of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Only hello is accepted.
    Greeting,
    /// In use.
    Ready,
    /// It has finished sending and may wait for answers.
    Ended,
    /// Goodbye was sent: nothing more is sent to it or accepted from it.
    Leaving,
}

/// An incomplete frame.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Frame {
    /// When it began.
    pub(crate) since: Moment,
    /// Charged bytes that the front holds of it without asking.
    pub(crate) held: usize,
    /// Charged bytes that were granted to it.
    pub(crate) granted: usize,
    /// Its header, while it waits for room.
    pub(crate) waiting: Option<Begun>,
}

/// The place that a routing section leads to, kept because most callers repeat themselves.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Route {
    /// The section, in memory of its own.
    pub(crate) section: Bytes,
    /// The section to be delivered, if the target had to be split.
    pub(crate) split: Option<Routing>,
    /// The name that it leads to.
    pub(crate) name: NameId,
    /// The epoch of the names when it was resolved.
    pub(crate) epoch: u64,
}

impl Peer {
    /// The peer, as the broker's own events describe it.
    pub(crate) fn event(&self) -> control::PeerEvent {
        control::PeerEvent { peer: self.number, uid: self.identity.uid, pid: self.identity.pid }
    }

    /// The peer, as others are told who it is.
    pub(crate) fn describe(&self) -> String {
        let pid = self.identity.pid.map_or_else(|| "unknown pid".to_owned(), |pid| format!("pid {pid}"));
        format!("peer {} ({pid}, user {}, {})", self.number, self.identity.uid, self.agent.escape_debug())
    }

    /// The bytes that are charged to its user as long as it is connected.
    pub(crate) fn charge(&self) -> usize {
        let frame = self.frame.as_ref().map_or(0, |frame| frame.held + frame.granted);
        charge_of(&self.identity) + self.unread + self.sunk + self.kept + frame
    }
}

/// The bytes charged for a peer's groups, besides the connection: once in its stamp, and once in its identity.
pub(crate) fn charge_of(identity: &Identity) -> usize {
    2 * size_of_val(identity.groups.as_slice())
}

/// All peers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Peers {
    table: Table<OfPeer, Peer>,
    by_number: BTreeMap<PeerNumber, PeerId>,
    last_number: u64,
    /// Connections that owe a hello, or the rest of a frame.
    wheel: Wheel<OfPeer>,
}

impl Peers {
    pub(crate) fn new() -> Self {
        Self { table: Table::new(), by_number: BTreeMap::new(), last_number: 0, wheel: Wheel::new() }
    }

    /// Adds a connection.
    pub(crate) fn admit(&mut self, now: Moment, identity: Identity, account: AccountId, effect: Effect) -> PeerId {
        self.last_number += 1;
        let number = PeerNumber(self.last_number);
        let id = self.table.insert(Peer {
            number,
            stamp: identity.stamp(Some(number)),
            identity,
            account,
            stage: Stage::Greeting,
            agent: String::new(),
            connected: now,
            last_call: 0,
            route: None,
            pending: Pending::default(),
            instances: Vec::new(),
            subscriptions: Vec::new(),
            patterns: 0,
            locks: Vec::new(),
            published: 0,
            unread: 0,
            backlog: 0,
            sunk: 0,
            is_stuck: false,
            kept: 0,
            frame: None,
            strays: 0,
            has_greeted: false,
            effect,
            in_line: false,
            credit: 1,
            denied: false,
            due: now,
            armed: false,
            link: Link::default(),
        });
        self.by_number.insert(number, id);
        id
    }

    pub(crate) fn remove(&mut self, id: PeerId) -> Option<Peer> {
        self.disarm(id);
        let peer = self.table.remove(id)?;
        self.by_number.remove(&peer.number);
        Some(peer)
    }

    /// Sets a peer's only deadline.
    pub(crate) fn arm(&mut self, id: PeerId, due: Moment) {
        self.disarm(id);
        let Some(peer) = self.table.get_mut(id) else { return };
        (peer.due, peer.armed) = (due, true);
        self.wheel.arm(&mut self.table, id);
    }

    pub(crate) fn disarm(&mut self, id: PeerId) {
        if let Some(peer) = self.table.get_mut(id)
            && std::mem::take(&mut peer.armed)
        {
            self.wheel.disarm(&mut self.table, id);
        }
    }

    /// Takes up to `most` peers whose deadline has passed. They have no deadline afterwards.
    pub(crate) fn overdue(&mut self, now: Moment, most: usize) -> Vec<PeerId> {
        let overdue = self.wheel.expired(&self.table, now, most);
        overdue.iter().for_each(|id| self.disarm(*id));
        overdue
    }

    /// When to call [`Peers::overdue`] next.
    pub(crate) fn next_overdue(&self) -> Option<Moment> {
        self.wheel.next()
    }

    pub(crate) fn get(&self, id: PeerId) -> Option<&Peer> {
        self.table.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.table.get_mut(id)
    }

    pub(crate) fn by_number(&self, number: PeerNumber) -> Option<PeerId> {
        self.by_number.get(&number).copied()
    }

    /// Peers in the order in which they connected, from the one after `after`.
    pub(crate) fn after(&self, after: PeerNumber) -> impl Iterator<Item = &Peer> {
        let from = PeerNumber(after.0.saturating_add(1));
        self.by_number.range(from..).filter_map(|(_, id)| self.table.get(*id))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        self.table.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn is_roomy(&self) -> bool {
        self.table.is_roomy()
    }

    /// Gives back memory of connections that are gone.
    pub(crate) fn give_back(&mut self) {
        self.table.give_back();
    }

    /// Checks the wheel. For the invariants.
    ///
    /// # Panics
    /// If a peer with a hello or a frame due is not on it.
    pub(crate) fn assert_timed(&self) {
        self.wheel.assert_armed(&self.table, |peer| peer.armed);
        for (_, peer) in self.table.iter() {
            let owes = peer.stage == Stage::Greeting || peer.stage == Stage::Ready && peer.frame.is_some();
            assert!(!owes || peer.armed, "{} owes something and has no deadline", peer.number);
        }
    }
}

impl Node for Peer {
    type Kind = OfPeer;
    type Role = ();

    fn link(&self, (): ()) -> &Link<OfPeer> {
        &self.link
    }

    fn link_mut(&mut self, (): ()) -> &mut Link<OfPeer> {
        &mut self.link
    }
}

impl Timed for Peer {
    const TIMER: () = ();

    fn due(&self) -> Moment {
        self.due
    }
}
