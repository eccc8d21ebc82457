//! Peers: one row a connection, as the core sees it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ipc_protocol::{Identity, PeerNumber};
use serde::{Deserialize, Serialize};

use super::{
    calls::List,
    moment::Moment,
    names::InstanceId,
    table::{Id, Table},
};

/// Id of a peer: its place in the table, which the server uses for its own table of connections.
pub type PeerId = Id<Peer>;

/// One connection.
#[derive(Debug, Serialize, Deserialize)]
pub struct Peer {
    pub(crate) number: PeerNumber,
    pub(crate) identity: Identity,
    /// The identity as it is stamped on delivered calls.
    pub(crate) stamp: Bytes,
    pub(crate) stage: Stage,
    /// Program and version, as the peer said itself.
    pub(crate) agent: String,
    pub(crate) connected: Moment,
    /// The highest id of a call so far.
    pub(crate) last_call: u64,
    /// Calls it waits for.
    pub(crate) pending: List,
    /// What it is registered as, the first registration first: that one takes calls to `@N`.
    pub(crate) instances: Vec<InstanceId>,
    /// Bytes sent to it that the kernel has not taken yet.
    pub(crate) unread: usize,
    /// How many of them its socket left when it was last written to: none, for one who reads.
    pub(crate) backlog: usize,
    /// Bytes granted to a frame of it that is being put together.
    pub(crate) assembling: usize,
    /// Replies to calls that were never delivered to it.
    pub(crate) strays: u32,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Nothing but hello is taken.
    Greeting,
    /// In use.
    Ready,
    /// Told goodbye: nothing more is sent to it or taken from it.
    Leaving,
}

/// All peers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Peers {
    table: Table<Peer>,
    by_number: BTreeMap<PeerNumber, PeerId>,
    last_number: u64,
    /// Connections whose hello has not come, in the order of their deadlines; left behind by those whose hello came.
    greeting: VecDeque<(Moment, PeerId)>,
}

impl Peers {
    pub(crate) fn new() -> Self {
        Self { table: Table::new(), by_number: BTreeMap::new(), last_number: 0, greeting: VecDeque::new() }
    }

    /// Adds a connection, which must say hello before `hello_deadline`.
    pub(crate) fn admit(&mut self, now: Moment, identity: Identity, hello_deadline: Moment) -> PeerId {
        self.last_number += 1;
        let number = PeerNumber(self.last_number);
        let id = self.table.insert(Peer {
            number,
            stamp: identity.stamp(Some(number)),
            identity,
            stage: Stage::Greeting,
            agent: String::new(),
            connected: now,
            last_call: 0,
            pending: List::default(),
            instances: Vec::new(),
            unread: 0,
            backlog: 0,
            assembling: 0,
            strays: 0,
        });
        self.by_number.insert(number, id);
        self.greeting.push_back((hello_deadline, id));
        id
    }

    pub(crate) fn remove(&mut self, id: PeerId) -> Option<Peer> {
        let peer = self.table.remove(id)?;
        self.by_number.remove(&peer.number);
        Some(peer)
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

    /// A connection whose hello is overdue. It is not told of again.
    pub(crate) fn overdue(&mut self, now: Moment) -> Option<PeerId> {
        while let Some((deadline, id)) = self.greeting.front().copied() {
            let waits = self.table.get(id).is_some_and(|peer| peer.stage == Stage::Greeting);
            if waits && deadline > now {
                return None;
            }
            self.greeting.pop_front();
            if waits {
                return Some(id);
            }
        }
        None
    }

    /// When to ask [`Peers::overdue`] next.
    pub(crate) fn next_overdue(&self) -> Option<Moment> {
        self.greeting.front().map(|(deadline, _)| *deadline)
    }
}
