//! The calls that are under way, and the ends that were not taken yet.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
    num::NonZeroU64,
};

use crate::{error::Error, request::Response};

/// How a call ended.
pub(crate) type Outcome = Result<Response, Error>;

/// Number of a call or ping on its connection; grows, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Serial(pub(crate) u64);

/// What a slot waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotKind {
    /// A reply or an error.
    Call,
    /// An error, or the pong to the ping behind it.
    OneWay,
    /// A pong.
    Ping,
}

#[derive(Debug)]
pub(super) enum Slot {
    Waiting(Waiting),
    Ended(Outcome),
}

/// A call that has not ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) kind: SlotKind,
    /// Its frame has left when the connection has written up to here.
    pub(super) end: u64,
    /// The delivered call on whose behalf it was made, if it was.
    pub(super) parent: Option<NonZeroU64>,
}

/// Slots by id.
#[derive(Default)]
pub(super) struct Slots(HashMap<Serial, Slot, BuildHasherDefault<IdHash>>);

impl Slots {
    pub(super) fn wait_for(&mut self, id: Serial, waiting: Waiting) {
        self.0.insert(id, Slot::Waiting(waiting));
    }

    /// Ends a slot of one of these kinds. False if there is none that still waits: a late, doubled or invented answer.
    pub(super) fn end(&mut self, id: Serial, kinds: &[SlotKind], outcome: Outcome) -> bool {
        match self.0.get_mut(&id) {
            Some(slot) if slot.waits_as_one_of(kinds) => {
                *slot = Slot::Ended(outcome);
                true
            }
            _ => false,
        }
    }

    /// Ends all waiting slots whose frame's end satisfies `which`.
    pub(super) fn end_where(&mut self, which: impl Fn(u64) -> bool, error: impl Fn(u64) -> Error) {
        for slot in self.0.values_mut() {
            if let Slot::Waiting(Waiting { end, .. }) = *slot
                && which(end)
            {
                *slot = Slot::Ended(Err(error(end)));
            }
        }
    }

    /// Takes the end of a call that has one.
    pub(super) fn take(&mut self, id: Serial) -> Option<Outcome> {
        let Entry::Occupied(slot) = self.0.entry(id) else { return None };
        match slot.get() {
            Slot::Waiting(_) => None,
            Slot::Ended(_) => slot.remove().into_outcome(),
        }
    }

    /// The end of a call that has one, which stays.
    pub(super) fn peek(&self, id: Serial) -> Option<&Outcome> {
        match self.0.get(&id)? {
            Slot::Waiting(_) => None,
            Slot::Ended(outcome) => Some(outcome),
        }
    }

    /// Drops the end of a call if it is of a certain kind.
    pub(super) fn remove_if(&mut self, id: Serial, which: impl FnOnce(&Outcome) -> bool) -> bool {
        match self.0.get(&id) {
            Some(Slot::Ended(outcome)) if which(outcome) => self.0.remove(&id).is_some(),
            _ => false,
        }
    }

    pub(super) fn remove(&mut self, id: Serial) -> Option<Slot> {
        self.0.remove(&id)
    }

    /// Where the frame of a call that waits ends.
    pub(super) fn end_of(&self, id: Serial) -> Option<u64> {
        match self.0.get(&id)? {
            Slot::Waiting(waiting) => Some(waiting.end),
            Slot::Ended(_) => None,
        }
    }

    /// Calls that were made on behalf of a delivered call and have not ended.
    pub(super) fn waiting_for_parent(&self, parent: NonZeroU64) -> Vec<Serial> {
        let is_nested = |slot: &Slot| match slot {
            Slot::Waiting(waiting) => waiting.parent == Some(parent) && waiting.kind == SlotKind::Call,
            Slot::Ended(_) => false,
        };
        self.0.iter().filter(|(_, slot)| is_nested(slot)).map(|(id, _)| *id).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Slot {
    fn into_outcome(self) -> Option<Outcome> {
        match self {
            Self::Waiting(_) => None,
            Self::Ended(outcome) => Some(outcome),
        }
    }

    fn waits_as_one_of(&self, kinds: &[SlotKind]) -> bool {
        matches!(self, Self::Waiting(waiting) if kinds.contains(&waiting.kind))
    }
}

/// Ids are counted by this process, so a peer can't choose colliding ones: one multiplication spreads them (Fibonacci hashing).
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
