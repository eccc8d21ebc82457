//! Ids: a place in a table with a count of its earlier uses, typed by the content of the table.

use std::{fmt, marker::PhantomData, num::NonZeroU32};

use serde::{Deserialize, Serialize};

/// Id of a connection. The server uses its place in the table of peers for its own table of connections.
pub type PeerId = Id<OfPeer>;
/// Id of a pending call. As a number, it is the id with which the call is delivered.
pub(crate) type CallId = Id<OfCall>;
/// Id of an offered name.
pub(crate) type NameId = Id<OfName>;
/// Id of one registration of a peer.
pub(crate) type InstanceId = Id<OfInstance>;
/// Id of a subscription. As a number, it is the one that its events carry.
pub(crate) type SubscriptionId = Id<OfSubscription>;
/// Id of a lock.
pub(crate) type LockId = Id<OfLock>;
/// Id of a user's account.
pub(crate) type AccountId = Id<OfAccount>;

/// Marks ids of peers.
#[derive(Debug)]
pub enum OfPeer {}
/// Marks ids of calls.
#[derive(Debug)]
pub(crate) enum OfCall {}
/// Marks ids of names.
#[derive(Debug)]
pub(crate) enum OfName {}
/// Marks ids of instances.
#[derive(Debug)]
pub(crate) enum OfInstance {}
/// Marks ids of subscriptions.
#[derive(Debug)]
pub(crate) enum OfSubscription {}
/// Marks ids of locks.
#[derive(Debug)]
pub(crate) enum OfLock {}
/// Marks ids of accounts.
#[derive(Debug)]
pub(crate) enum OfAccount {}

/// Id of a row. Never valid again once its row is gone.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Id<K> {
    index: u32,
    generation: NonZeroU32,
    #[serde(skip)]
    kind: PhantomData<fn() -> K>,
}

impl<K> Id<K> {
    pub(super) fn new(index: u32, generation: NonZeroU32) -> Self {
        Self { index, generation, kind: PhantomData }
    }

    /// The place of the row, for a table kept in parallel.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// The id as one number, which is never given out twice and never below 2^32.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation.get()) << 32 | u64::from(self.index)
    }

    /// The id for a number made by [`Id::to_bits`]; `None` for other numbers.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the number")]
    pub fn from_bits(bits: u64) -> Option<Self> {
        Some(Self::new(bits as u32, NonZeroU32::new((bits >> 32) as u32)?))
    }

    pub(super) fn generation(self) -> NonZeroU32 {
        self.generation
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Id<K> {}

impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        (self.index, self.generation) == (other.index, other.generation)
    }
}

impl<K> Eq for Id<K> {}

impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.index, self.generation).cmp(&(other.index, other.generation))
    }
}

impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}
