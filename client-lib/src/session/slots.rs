//! The calls that are under way, and the ends that nobody has taken yet.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
};

use crate::{error::Error, session::Outcome};

/// Number of a call or ping on its connection; grows, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallId(pub(crate) u64);

/// What a slot waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotKind {
    /// A reply or an error.
    Call,
    /// An error, if any.
    OneWay,
    /// A pong.
    Ping,
}

#[derive(Debug)]
pub(super) enum Slot {
    /// `end`: the frame has left when so many bytes of the connection have been written.
    Waiting {
        kind: SlotKind,
        end: u64,
    },
    Ended(Outcome),
}

/// Slots by id.
#[derive(Default)]
pub(super) struct Slots(HashMap<CallId, Slot, BuildHasherDefault<IdHash>>);

impl Slots {
    pub(super) fn wait_for(&mut self, id: CallId, kind: SlotKind, end: u64) {
        self.0.insert(id, Slot::Waiting { kind, end });
    }

    /// Ends a slot of one of these kinds. False if there is none that still waits: a late, doubled or invented answer.
    pub(super) fn end(&mut self, id: CallId, kinds: &[SlotKind], outcome: Outcome) -> bool {
        match self.0.get_mut(&id) {
            Some(slot @ Slot::Waiting { .. }) if slot.is_one_of(kinds) => {
                *slot = Slot::Ended(outcome);
                true
            }
            _ => false,
        }
    }

    /// Ends all waiting slots whose frame's end satisfies `which`.
    pub(super) fn end_where(&mut self, which: impl Fn(u64) -> bool, error: impl Fn(u64) -> Error) {
        for slot in self.0.values_mut() {
            if let Slot::Waiting { end, .. } = *slot
                && which(end)
            {
                *slot = Slot::Ended(Err(error(end)));
            }
        }
    }

    /// Takes the end of a call that has one.
    pub(super) fn take(&mut self, id: CallId) -> Option<Outcome> {
        let Entry::Occupied(slot) = self.0.entry(id) else { return None };
        match slot.get() {
            Slot::Waiting { .. } => None,
            Slot::Ended(_) => slot.remove().into_outcome(),
        }
    }

    /// Drops the end of a call if it is of a certain kind.
    pub(super) fn remove_if(&mut self, id: CallId, which: impl FnOnce(&Outcome) -> bool) -> bool {
        match self.0.get(&id) {
            Some(Slot::Ended(outcome)) if which(outcome) => self.0.remove(&id).is_some(),
            _ => false,
        }
    }

    pub(super) fn remove(&mut self, id: CallId) -> Option<Slot> {
        self.0.remove(&id)
    }

    /// Where the frame of a call that waits ends.
    pub(super) fn end_of(&self, id: CallId) -> Option<u64> {
        match self.0.get(&id)? {
            Slot::Waiting { end, .. } => Some(*end),
            Slot::Ended(_) => None,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Slot {
    fn into_outcome(self) -> Option<Outcome> {
        match self {
            Self::Waiting { .. } => None,
            Self::Ended(outcome) => Some(outcome),
        }
    }

    fn is_one_of(&self, kinds: &[SlotKind]) -> bool {
        matches!(self, Self::Waiting { kind, .. } if kinds.contains(kind))
    }
}

/// Ids are counted by this process, so nobody can choose colliding ones: one multiplication spreads them (Fibonacci hashing).
#[derive(Default)]
struct IdHash(u64);

impl Hasher for IdHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = (self.0 ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
