//! What was written to connections and may lie unread in the kernel, which holds up to 208 KiB for each of them.
//!
//! ```text
//! written -> fresh: no one has looked yet, at most `UNSEEN` for all connections together
//!                \-> looked at: nothing is left, or -> waiting: looked at again every second, until its peer has read
//! ```
//!
//! The kernel tells no one when a peer reads, and to ask about each write would cost as much as a tenth of it. So a turn asks only when
//! much has been written since, and about all that it was written to.

use std::{collections::VecDeque, mem};

use crate::core::{Moment, PeerId};

/// Connections that may have something unread in the kernel.
#[derive(Debug)]
pub(crate) struct Sunk {
    fresh: Vec<PeerId>,
    /// Memory for the next list of those to look at.
    spare: Vec<(PeerId, Look)>,
    /// What was written to the fresh ones, with `PER_WRITE` for each write: a kernel buffer takes more than its bytes.
    unseen: u64,
    waiting: VecDeque<PeerId>,
    /// When to look at the waiting ones.
    look: Option<Moment>,
}

/// What is known of one connection.
#[derive(Debug, Default)]
pub(crate) struct Depth {
    /// Bytes of the kernel's buffers, at the last look.
    pub(crate) bytes: usize,
    is_fresh: bool,
    is_waiting: bool,
    /// Looks in a row at which nothing had been read.
    still: u8,
}

impl Default for Sunk {
    /// With room for a few connections, so that a look in a warm broker allocates nothing.
    fn default() -> Self {
        let (fresh, spare) = (Vec::with_capacity(FEW), Vec::with_capacity(FEW));
        Self { fresh, spare, unseen: 0, waiting: VecDeque::with_capacity(FEW), look: None }
    }
}

impl Sunk {
    /// Notes that bytes were written to a connection.
    #[inline]
    pub(crate) fn note(&mut self, id: PeerId, depth: &mut Depth, bytes: usize) {
        self.unseen += PER_WRITE + bytes as u64;
        if !mem::replace(&mut depth.is_fresh, true) {
            self.fresh.push(id);
        }
    }

    /// Whether connections are to be looked at now.
    #[inline]
    pub(crate) fn is_due(&self, now: Moment) -> bool {
        self.unseen >= UNSEEN || self.look.is_some_and(|look| look <= now)
    }

    /// Connections to be looked at now, each with the reason. Return the list with [`Sunk::recycle`].
    #[cold]
    pub(crate) fn take_due(&mut self, now: Moment) -> Vec<(PeerId, Look)> {
        let mut due = mem::take(&mut self.spare);
        if self.unseen >= UNSEEN {
            self.unseen = 0;
            due.extend(self.fresh.drain(..).map(|id| (id, Look::Fresh)));
        }
        if self.look.is_some_and(|look| look <= now) {
            let some = self.waiting.len().min(SLICE);
            due.extend(self.waiting.drain(..some).map(|id| (id, Look::Waiting)));
            self.look = (!self.waiting.is_empty()).then(|| now.after_ms(AGAIN_MS));
        }
        due
    }

    /// Keeps the memory of a list.
    pub(crate) fn recycle(&mut self, mut looked_at: Vec<(PeerId, Look)>) {
        looked_at.clear();
        self.spare = looked_at;
    }

    /// When connections are to be looked at, whatever is written.
    pub(crate) fn next_look(&self) -> Option<Moment> {
        self.look
    }

    /// Notes what a look at a connection has found. Returns whether its peer has read nothing for a while.
    pub(crate) fn looked(&mut self, now: Moment, (id, why): (PeerId, Look), depth: &mut Depth, found: usize) -> bool {
        let had = mem::replace(&mut depth.bytes, found);
        match why {
            Look::Fresh => depth.is_fresh = false,
            Look::Waiting => depth.is_waiting = false,
        }
        if found > 0 && !mem::replace(&mut depth.is_waiting, true) {
            self.waiting.push_back(id);
            self.look.get_or_insert_with(|| now.after_ms(AGAIN_MS));
        }
        let is_still = why == Look::Waiting && found > 0 && found >= had && !depth.is_fresh;
        depth.still = if is_still { depth.still.saturating_add(1) } else { 0 };
        depth.still >= STUCK
    }

    /// Gives back memory that is kept for reuse.
    pub(crate) fn give_back(&mut self) {
        self.fresh.shrink_to_fit();
        self.spare = Vec::new();
        self.waiting.shrink_to_fit();
    }
}

/// Why a connection is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Much was written since the last look at all.
    Fresh,
    /// It had something unread a second ago.
    Waiting,
}

/// Bytes that may lie in the kernel before a look. A look at one connection takes about 0.2 us.
pub(crate) const UNSEEN: u64 = 4 * 1_024 * 1_024;
/// What the kernel needs for a buffer besides its bytes, or a little more (`struct sk_buff`, `struct skb_shared_info`, rounding).
const PER_WRITE: u64 = 1_024;
/// Time between two looks at a connection that doesn't read.
const AGAIN_MS: u64 = 1_000;
/// Looks without a change after which a peer counts as one that doesn't read. The kernel frees a buffer only once all of it is read,
/// so that a slow reader may show no change for a while.
const STUCK: u8 = 3;
/// Connections that there is always room for.
const FEW: usize = 16;
/// Connections that are looked at again at once.
const SLICE: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Id;

    fn id(index: u64) -> PeerId {
        Id::from_bits(1 << 32 | index).unwrap()
    }

    /// Writes to a connection until it is looked at.
    fn sunk_until_due(depth: &mut Depth) -> Sunk {
        let mut sunk = Sunk::default();
        while !sunk.is_due(Moment(0)) {
            sunk.note(id(1), depth, 100_000);
        }
        sunk
    }

    #[test]
    fn no_one_is_looked_at_until_much_was_written() {
        let (mut sunk, mut depth) = (Sunk::default(), Depth::default());
        (0..1_000).for_each(|_| sunk.note(id(1), &mut depth, 128));
        assert!(!sunk.is_due(Moment(0)));
        (0..3_000).for_each(|_| sunk.note(id(1), &mut depth, 1_024));
        assert!(sunk.is_due(Moment(0)));
        assert_eq!(sunk.take_due(Moment(0)), [(id(1), Look::Fresh)], "once, for all writes");
        assert!(!sunk.is_due(Moment(0)));
    }

    #[test]
    fn a_connection_with_something_unread_is_looked_at_again_until_it_has_read() {
        let mut depth = Depth::default();
        let mut sunk = sunk_until_due(&mut depth);
        sunk.take_due(Moment(0));
        let later = |looks: u64| Moment(0).after_ms(AGAIN_MS * looks);

        assert!(!sunk.looked(Moment(0), (id(1), Look::Fresh), &mut depth, 50_000), "it may be about to read");
        assert_eq!(sunk.next_look(), Some(later(1)));
        let mut look = |at: u64, found: usize| {
            assert_eq!(sunk.take_due(later(at)), [(id(1), Look::Waiting)]);
            sunk.looked(later(at), (id(1), Look::Waiting), &mut depth, found)
        };
        assert_eq!([look(1, 50_000), look(2, 50_000)], [false; 2], "it may be within a long buffer");
        assert!(look(3, 50_000), "it reads nothing");
        assert!(!look(4, 40_000), "it reads");
        assert!(!look(5, 0));
        assert_eq!(sunk.next_look(), None);
    }

    #[test]
    fn a_connection_that_was_written_to_since_is_not_known_to_read_nothing() {
        let mut depth = Depth::default();
        let mut sunk = sunk_until_due(&mut depth);
        let again = Moment(0).after_ms(AGAIN_MS);
        sunk.take_due(Moment(0));
        sunk.looked(Moment(0), (id(1), Look::Fresh), &mut depth, 50_000);
        sunk.note(id(1), &mut depth, 100);
        sunk.take_due(again);
        assert!(!sunk.looked(again, (id(1), Look::Waiting), &mut depth, 51_000));
    }
}
