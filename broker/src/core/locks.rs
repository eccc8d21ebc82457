//! Locks between processes: who holds each of them, and who waits for it, in order of arrival.
//!
//! A lock belongs to connections. It is there as long as a peer holds it, and each peer that waits for it is a pending call
//! (`calls::Stage`).

use std::collections::{BTreeMap, BTreeSet};

use ipc_protocol::{ServiceName, control};
use serde::{Deserialize, Serialize};

use super::{
    ids::{CallId, LockId, OfLock, PeerId},
    table::Table,
};

/// All locks that are held.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Locks {
    table: Table<OfLock, Lock>,
    by_name: BTreeMap<ServiceName, LockId>,
}

/// One lock. No call waits for it while a place is free.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Lock {
    pub(crate) name: ServiceName,
    /// How many may hold it at once.
    pub(crate) places: u32,
    pub(crate) holders: BTreeSet<PeerId>,
    /// Those who wait, by the order in which their calls were accepted.
    pub(crate) line: BTreeMap<u64, Waiter>,
}

/// A peer that waits for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiter {
    pub(crate) call: CallId,
    pub(crate) peer: PeerId,
}

impl Locks {
    pub(crate) fn new() -> Self {
        Self { table: Table::new(), by_name: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn is_roomy(&self) -> bool {
        self.table.is_roomy()
    }

    /// Gives back memory of locks that are gone.
    pub(crate) fn give_back(&mut self) {
        self.table.give_back();
    }

    pub(crate) fn find(&self, name: &ServiceName) -> Option<(LockId, &Lock)> {
        let id = *self.by_name.get(name)?;
        Some((id, self.table.get(id)?))
    }

    /// The lock of that name, which is made if there is none.
    pub(crate) fn open(&mut self, request: &control::Lock) -> LockId {
        if let Some(id) = self.by_name.get(&request.name) {
            return *id;
        }
        let lock = Lock {
            name: request.name.clone(),
            places: request.places,
            holders: BTreeSet::new(),
            line: BTreeMap::new(),
        };
        let id = self.table.insert(lock);
        self.by_name.insert(request.name.clone(), id);
        id
    }

    /// A peer takes a free place.
    pub(crate) fn hold(&mut self, id: LockId, peer: PeerId) {
        if let Some(lock) = self.table.get_mut(id) {
            lock.holders.insert(peer);
        }
    }

    pub(crate) fn stand_in_line(&mut self, id: LockId, sequence: u64, waiter: Waiter) {
        if let Some(lock) = self.table.get_mut(id) {
            lock.line.insert(sequence, waiter);
        }
    }

    /// A peer that waits takes a free place.
    pub(crate) fn promote(&mut self, id: LockId, sequence: u64, peer: PeerId) {
        if let Some(lock) = self.table.get_mut(id) {
            lock.line.remove(&sequence);
            lock.holders.insert(peer);
        }
    }

    /// Takes a call out of the line. Returns what it was charged.
    pub(crate) fn leave_line(&mut self, id: LockId, sequence: u64) -> usize {
        let Some(lock) = self.table.get_mut(id) else { return 0 };
        lock.line.remove(&sequence);
        lock.charge()
    }

    /// Takes a peer out of the holders. Returns what it was charged, unless it held nothing. A lock without holders is gone.
    pub(crate) fn leave(&mut self, id: LockId, peer: PeerId) -> Option<usize> {
        let lock = self.table.get_mut(id)?;
        let charge = lock.holders.remove(&peer).then(|| lock.charge())?;
        if lock.holders.is_empty() && lock.line.is_empty() {
            let name = self.table.remove(id).map(|lock| lock.name);
            name.map(|name| self.by_name.remove(&name));
        }
        Some(charge)
    }

    /// The next one in line, if a place is free.
    pub(crate) fn next(&self, id: LockId) -> Option<Waiter> {
        let lock = self.table.get(id).filter(|lock| lock.has_place())?;
        lock.line.values().next().copied()
    }

    /// What each of a lock's holders and waiters is charged. For the invariants.
    pub(crate) fn charge(&self, id: LockId) -> usize {
        self.table.get(id).map_or(0, Lock::charge)
    }

    /// The holders of all locks. For the invariants.
    pub(crate) fn holders(&self) -> impl Iterator<Item = (PeerId, LockId)> {
        self.table.iter().flat_map(|(id, lock)| lock.holders.iter().map(move |peer| (*peer, id)))
    }

    /// Checks that each lock is held, that its line holds exactly the calls that wait for it, and that no call waits for a free place.
    /// For the invariants.
    ///
    /// # Panics
    /// If it is not so.
    pub(crate) fn assert_whole(&self, waiting: impl Iterator<Item = (CallId, u64, LockId, Option<PeerId>)>) {
        let mut expected = 0;
        for (call, sequence, id, peer) in waiting {
            let found = self.table.get(id).and_then(|lock| lock.line.get(&sequence));
            let wanted = peer.map(|peer| Waiter { call, peer });
            assert!(found.is_some() && found == wanted.as_ref(), "{call:?} of {peer:?} is not in line: {found:?}");
            expected += 1;
        }
        assert_eq!(self.table.iter().map(|(_, lock)| lock.line.len()).sum::<usize>(), expected, "calls in line");
        assert_eq!(self.table.len(), self.by_name.len(), "locks, and their names");
        for (id, lock) in self.table.iter() {
            assert_eq!(self.by_name.get(&lock.name), Some(&id), "'{}' is not found", lock.name);
            assert!(!lock.holders.is_empty(), "'{}' has no holder", lock.name);
            assert!(lock.holders.len() <= lock.places as usize, "too many hold '{}'", lock.name);
            assert!(lock.line.is_empty() || !lock.has_place(), "'{}' has a place, and is waited for", lock.name);
        }
    }
}

impl Lock {
    pub(crate) fn has_place(&self) -> bool {
        self.holders.len() < self.places as usize
    }

    /// The bytes charged to each who holds it or waits for it: an entry, and the lock itself, which lasts as long as one of them.
    fn charge(&self) -> usize {
        charge_of(&self.name)
    }
}

/// The bytes charged for a part in a lock of this name.
pub(crate) fn charge_of(name: &ServiceName) -> usize {
    const ROWS: usize = 256;
    ROWS + 2 * name.as_str().len()
}
