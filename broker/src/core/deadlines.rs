//! Deadlines of calls: a wheel of one-millisecond buckets. A call that ends in time costs one link and one unlink.
//!
//! ```text
//! bucket = millisecond mod 1024; a deadline further away than one turn waits in its bucket until the turn that it means
//! ```

use serde::{Deserialize, Serialize};

use super::{
    calls::{CallId, Caller, Calls, List, Role, Slot},
    moment::Moment,
};

/// The deadlines of all pending calls.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Deadlines {
    buckets: Vec<List>,
    /// One bit a bucket: whether a call waits in it.
    occupied: Vec<u64>,
    /// One bit a word of `occupied`, of which there are at most 64: whether it is not zero.
    summary: u64,
    /// Everything up to this millisecond has been looked at.
    done: u64,
}

impl Deadlines {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![List::default(); BUCKETS], occupied: vec![0; WORDS], summary: 0, done: 0 }
    }

    /// Puts a call on the wheel, under its slot's deadline.
    pub(crate) fn arm(&mut self, calls: &mut Calls, id: CallId, deadline: Moment) {
        let bucket = self.bucket(deadline);
        if let Some(list) = self.buckets.get_mut(bucket) {
            calls.push(list, Role::Deadline, id);
            self.mark(bucket, true);
        }
    }

    /// Takes a call off the wheel.
    pub(crate) fn disarm(&mut self, calls: &mut Calls, id: CallId, deadline: Moment) {
        let bucket = self.bucket(deadline);
        let Some(list) = self.buckets.get_mut(bucket) else { return };
        calls.unlink(list, Role::Deadline, id);
        if list.is_empty() {
            self.mark(bucket, false);
        }
    }

    /// Calls whose deadline has passed, at most `most` of them: whoever asks disarms them, and asks again when there were so many.
    /// All in one pass, for a bucket may hold many more calls of later turns than ones that are due.
    pub(crate) fn expired(&mut self, calls: &Calls, now: Moment, most: usize) -> Vec<CallId> {
        let now_tick = now.0 / 1000;
        let mut found = Vec::new();
        // A whole turn looks at every bucket; more turns would look at the same ones again.
        self.done = self.done.max(now_tick.saturating_sub(BUCKETS as u64));
        while let Some(tick) = self.next_tick().filter(|tick| *tick <= now_tick) {
            let mut at = self.buckets.get(self.bucket_of(tick)).and_then(List::head);
            while let Some(id) = at {
                if calls.get(id).is_some_and(|slot| slot.deadline.tick() <= now_tick) {
                    if found.len() == most {
                        return found;
                    }
                    found.push(id);
                }
                at = calls.next(Role::Deadline, id);
            }
            self.done = tick;
        }
        self.done = self.done.max(now_tick);
        found
    }

    /// When to ask [`Deadlines::expired`] next. May be too early (by whole turns of the wheel), never too late.
    pub(crate) fn next(&self) -> Option<Moment> {
        self.next_tick().map(|tick| Moment(tick.saturating_mul(1000)))
    }

    /// Checks that the wheel holds each call that somebody waits for, in the bucket of its deadline. For the invariants.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn assert_armed(&self, calls: &Calls) {
        let is_armed = |slot: &Slot| slot.caller != Caller::Gone;
        let words = self.occupied.iter().enumerate().filter(|(_, bits)| **bits != 0);
        let bits = words
            .flat_map(|(word, bits)| (0..64).filter(move |bit| bits >> bit & 1 != 0).map(move |bit| word * 64 + bit));
        let held = |bucket: usize| {
            let list = self.buckets.get(bucket).expect("a bit stands for a bucket");
            assert!(!list.is_empty(), "bucket {bucket} is marked and empty");
            let belongs = |slot: &Slot| {
                is_armed(slot) && self.bucket(slot.deadline) == bucket && slot.deadline.tick() > self.done
            };
            calls.assert_list(list, Role::Deadline, belongs)
        };
        let summary: u64 = self.occupied.iter().zip(0..).map(|(bits, word)| u64::from(*bits != 0) << word).sum();
        assert_eq!(self.summary, summary, "the summary of the wheel");
        let armed = calls.iter().filter(|(_, slot)| is_armed(slot)).count();
        assert_eq!(bits.map(held).sum::<usize>(), armed, "calls on the wheel, and calls that somebody waits for");
    }

    /// The first millisecond after `done` whose bucket is occupied.
    fn next_tick(&self) -> Option<u64> {
        let start = self.bucket_of(self.done + 1);
        let (word, bit) = (start / 64, start % 64);
        let bits = |word: usize| self.occupied.get(word).copied().unwrap_or(0);
        // The rest of the word of the start; else the first word that has any, the one of the start with its front coming last.
        let bucket = match bits(word) & (u64::MAX << bit) {
            0 => {
                let ahead = self.summary.rotate_right(u32::try_from(word + 1).unwrap_or(0));
                let found = (word + 1 + ahead.trailing_zeros() as usize) % WORDS;
                (ahead != 0).then(|| found * 64 + bits(found).trailing_zeros() as usize)?
            }
            rest => word * 64 + rest.trailing_zeros() as usize,
        };
        Some(self.done + 1 + ((bucket + BUCKETS - start) % BUCKETS) as u64)
    }

    /// Deadlines are at least a millisecond away when they are armed, so a bucket is never one that was already looked at.
    fn bucket(&self, deadline: Moment) -> usize {
        self.bucket_of(deadline.tick())
    }

    #[expect(clippy::cast_possible_truncation, reason = "a number below BUCKETS")]
    fn bucket_of(&self, tick: u64) -> usize {
        (tick % BUCKETS as u64) as usize
    }

    fn mark(&mut self, bucket: usize, occupied: bool) {
        if let Some(word) = self.occupied.get_mut(bucket / 64) {
            let bit = 1 << (bucket % 64);
            *word = if occupied { *word | bit } else { *word & !bit };
            let bit = 1 << (bucket / 64);
            self.summary = if *word == 0 { self.summary & !bit } else { self.summary | bit };
        }
    }
}

/// A second of milliseconds: the wheel takes 28 KiB, and a call that waits for its 30 s is passed once a second.
const BUCKETS: usize = 1024;
/// Words of the bitmap; divides the bits of its summary.
const WORDS: usize = BUCKETS / 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{calls::Stage, table::Id};

    struct Wheel {
        calls: Calls,
        deadlines: Deadlines,
    }

    impl Wheel {
        fn new() -> Self {
            Self { calls: Calls::new(), deadlines: Deadlines::new() }
        }

        fn arm(&mut self, ms: u64) -> CallId {
            let deadline = Moment(ms * 1000);
            let id = self.calls.open(Caller::OneWay, Stage::Running(Id::from_bits(0)), deadline);
            self.deadlines.arm(&mut self.calls, id, deadline);
            id
        }

        fn expire(&mut self, ms: u64) -> Vec<CallId> {
            self.expire_some(ms, usize::MAX)
        }

        fn expire_some(&mut self, ms: u64, most: usize) -> Vec<CallId> {
            let found = self.deadlines.expired(&self.calls, Moment(ms * 1000), most);
            for id in &found {
                let deadline = self.calls.get(*id).unwrap().deadline;
                self.deadlines.disarm(&mut self.calls, *id, deadline);
            }
            found
        }
    }

    #[test]
    fn a_deadline_fires_when_it_has_passed_and_not_before() {
        let mut wheel = Wheel::new();
        let id = wheel.arm(200);
        assert_eq!(wheel.deadlines.next(), Some(Moment(200_000)));
        assert_eq!(wheel.expire(199), []);
        assert_eq!(wheel.expire(200), [id]);
        assert_eq!(wheel.deadlines.next(), None);
    }

    #[test]
    fn a_deadline_turns_of_the_wheel_away_waits_for_its_turn() {
        let mut wheel = Wheel::new();
        let (far, near) = (wheel.arm(10_000), wheel.arm(10_000 % BUCKETS as u64));
        assert_eq!(wheel.expire(5_000), [near]);
        assert_eq!(wheel.expire(9_999), []);
        assert_eq!(wheel.expire(10_000), [far]);
    }

    #[test]
    fn a_long_pause_misses_nothing() {
        let mut wheel = Wheel::new();
        let ids = [wheel.arm(5), wheel.arm(4_000), wheel.arm(8_191), wheel.arm(1_000_000)];
        assert_eq!(wheel.expire(1_000_001).len(), ids.len());
    }

    #[test]
    fn a_deadline_set_after_a_pause_is_found() {
        let mut wheel = Wheel::new();
        assert_eq!(wheel.expire(123_456), []);
        let id = wheel.arm(123_457);
        assert_eq!(wheel.deadlines.next(), Some(Moment(123_457_000)));
        assert_eq!(wheel.expire(123_457), [id]);
    }

    #[test]
    fn what_is_due_comes_in_slices_past_what_is_not() {
        let mut wheel = Wheel::new();
        let turn = BUCKETS as u64;
        let ids = [10, 10 + 7 * turn, 10, 10 + 7 * turn, 10, 11].map(|ms| wheel.arm(ms));
        assert_eq!(wheel.expire_some(20, 2), [ids[0], ids[2]]);
        assert_eq!(wheel.deadlines.next(), Some(Moment(10_000)));
        assert_eq!(wheel.expire_some(20, 2), [ids[4], ids[5]]);
        assert_eq!(wheel.expire_some(20, 2), []);
        assert_eq!(wheel.expire(10 + 7 * turn), [ids[1], ids[3]]);
    }
}
