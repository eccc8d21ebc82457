//! A timing wheel of one-millisecond buckets. A row that ends before its deadline costs one link and one unlink.
//!
//! ```text
//! bucket = millisecond mod 1024; a deadline further away than one turn stays in its bucket until its own turn
//! ```

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    ids::Id,
    list::{List, Node},
    moment::Moment,
    table::Table,
};

/// A row that can be on a wheel.
pub(crate) trait Timed: Node {
    /// The list that stands for the wheel.
    const TIMER: Self::Role;

    /// Its deadline while it is on the wheel. Change it only off the wheel.
    fn due(&self) -> Moment;
}

/// The deadlines of rows.
#[derive(Debug)]
pub(crate) struct Wheel<K> {
    buckets: Vec<List<K>>,
    /// One bit per bucket: whether it contains a row.
    occupied: Vec<u64>,
    /// One bit for each word of `occupied`, of which there are up to 64: whether it is not zero.
    summary: u64,
    /// All buckets up to this millisecond have been examined.
    done: u64,
}

impl<K> Wheel<K> {
    pub(crate) fn new() -> Self {
        let buckets = (0..BUCKETS).map(|_| List::default()).collect();
        Self { buckets, occupied: vec![0; WORDS], summary: 0, done: 0 }
    }

    /// Puts a row on the wheel. Its deadline is at least a millisecond away, because a bucket is not examined twice in a turn.
    #[inline]
    pub(crate) fn arm<T: Timed<Kind = K>>(&mut self, table: &mut Table<K, T>, id: Id<K>) {
        let Some(bucket) = table.get(id).map(|row| bucket_of(row.due().tick())) else { return };
        if let Some(list) = self.buckets.get_mut(bucket) {
            list.push(table, T::TIMER, id);
            if list.len() == 1 {
                self.mark(bucket, true);
            }
        }
    }

    /// Takes a row off the wheel.
    #[expect(
        clippy::inline_always,
        reason = "every call that ends in time does this; a call of it costs 20 instructions"
    )]
    #[inline(always)]
    pub(crate) fn disarm<T: Timed<Kind = K>>(&mut self, table: &mut Table<K, T>, id: Id<K>) {
        let Some(bucket) = table.get(id).map(|row| bucket_of(row.due().tick())) else { return };
        let Some(list) = self.buckets.get_mut(bucket) else { return };
        list.unlink(table, T::TIMER, id);
        if list.is_empty() {
            self.mark(bucket, false);
        }
    }

    /// Up to `most` rows whose deadline has passed. The caller disarms them, and calls again if there were `most`. This takes a
    /// single pass, because a bucket may hold far more rows of later turns than due ones.
    pub(crate) fn expired<T: Timed<Kind = K>>(&mut self, table: &Table<K, T>, now: Moment, most: usize) -> Vec<Id<K>> {
        let now_tick = now.0 / 1000;
        let mut found = Vec::new();
        // One turn examines every bucket. Further turns would examine the same ones again.
        self.done = self.done.max(now_tick.saturating_sub(BUCKETS as u64));
        while let Some(tick) = self.next_tick().filter(|tick| *tick <= now_tick) {
            for id in self.buckets.get(bucket_of(tick)).into_iter().flat_map(|list| list.ids(table, T::TIMER)) {
                if table.get(id).is_some_and(|row| row.due().tick() <= now_tick) {
                    if found.len() == most {
                        return found;
                    }
                    found.push(id);
                }
            }
            self.done = tick;
        }
        self.done = self.done.max(now_tick);
        found
    }

    /// When to call [`Wheel::expired`] next: perhaps too early, by whole turns of the wheel, but never too late.
    pub(crate) fn next(&self) -> Option<Moment> {
        self.next_tick().map(|tick| Moment(tick.saturating_mul(1000)))
    }

    /// Checks that the wheel holds exactly the rows that `is_armed` names, each in the bucket of its deadline. For the invariants.
    ///
    /// # Panics
    /// If not.
    pub(crate) fn assert_armed<T: Timed<Kind = K> + std::fmt::Debug>(
        &self,
        table: &Table<K, T>,
        is_armed: impl Fn(&T) -> bool,
    ) {
        let mut held = 0;
        for (bucket, list) in self.buckets.iter().enumerate() {
            let marked = self.occupied.get(bucket / 64).is_some_and(|bits| bits >> (bucket % 64) & 1 != 0);
            assert_eq!(marked, !list.is_empty(), "the mark of bucket {bucket}");
            let belongs =
                |row: &T| is_armed(row) && bucket_of(row.due().tick()) == bucket && row.due().tick() > self.done;
            held += list.assert_whole(table, T::TIMER, belongs);
        }
        let summary: u64 = self.occupied.iter().zip(0..).map(|(bits, word)| u64::from(*bits != 0) << word).sum();
        assert_eq!(self.summary, summary, "the summary of the wheel");
        let armed = table.iter().filter(|(_, row)| is_armed(row)).count();
        assert_eq!(held, armed, "rows on the wheel, and rows with a deadline");
    }

    /// The first millisecond after `done` whose bucket is occupied.
    fn next_tick(&self) -> Option<u64> {
        if self.summary == 0 {
            return None;
        }
        let start = bucket_of(self.done + 1);
        let (word, bit) = (start / 64, start % 64);
        let bits = |word: usize| self.occupied.get(word).copied().unwrap_or(0);
        // First the rest of the starting word, then the other words, and last the front of the starting word.
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

    fn mark(&mut self, bucket: usize, occupied: bool) {
        if let Some(word) = self.occupied.get_mut(bucket / 64) {
            let bit = 1 << (bucket % 64);
            *word = if occupied { *word | bit } else { *word & !bit };
            let bit = 1 << (bucket / 64);
            self.summary = if *word == 0 { self.summary & !bit } else { self.summary | bit };
        }
    }
}

/// A wheel as it is handed over: of its buckets only those that hold something, so that an idle broker's takes a few bytes.
#[derive(Serialize, Deserialize)]
struct Frozen<L> {
    buckets: Vec<(usize, L)>,
    done: u64,
}

impl<K> Serialize for Wheel<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let buckets = self.buckets.iter().enumerate().filter(|(_, list)| !list.is_empty()).collect();
        Frozen { buckets, done: self.done }.serialize(serializer)
    }
}

impl<'de, K> Deserialize<'de> for Wheel<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let frozen: Frozen<List<K>> = Frozen::deserialize(deserializer)?;
        let mut wheel = Self { done: frozen.done, ..Self::new() };
        for (bucket, list) in frozen.buckets {
            let place = wheel.buckets.get_mut(bucket).ok_or_else(|| D::Error::custom("a wheel has fewer buckets"))?;
            *place = list;
            wheel.mark(bucket, true);
        }
        Ok(wheel)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a number below BUCKETS")]
fn bucket_of(tick: u64) -> usize {
    (tick % BUCKETS as u64) as usize
}

/// About a second. The wheel takes 28 KiB, and a call with a deadline of 30 s is examined once a second.
const BUCKETS: usize = 1024;
/// The number of words in the bitmap, which must fit the bits of its summary.
const WORDS: usize = BUCKETS / 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::list::Link;

    #[derive(Debug)]
    enum OfTest {}

    #[derive(Debug)]
    struct Row {
        due: Moment,
        link: Link<OfTest>,
    }

    impl Node for Row {
        type Kind = OfTest;
        type Role = ();

        fn link(&self, (): ()) -> &Link<OfTest> {
            &self.link
        }

        fn link_mut(&mut self, (): ()) -> &mut Link<OfTest> {
            &mut self.link
        }
    }

    impl Timed for Row {
        const TIMER: () = ();

        fn due(&self) -> Moment {
            self.due
        }
    }

    struct Clock {
        rows: Table<OfTest, Row>,
        wheel: Wheel<OfTest>,
    }

    impl Clock {
        fn new() -> Self {
            Self { rows: Table::new(), wheel: Wheel::new() }
        }

        fn arm(&mut self, ms: u64) -> Id<OfTest> {
            let id = self.rows.insert(Row { due: Moment(ms * 1000), link: Link::default() });
            self.wheel.arm(&mut self.rows, id);
            id
        }

        fn expire(&mut self, ms: u64) -> Vec<Id<OfTest>> {
            self.expire_some(ms, usize::MAX)
        }

        fn expire_some(&mut self, ms: u64, most: usize) -> Vec<Id<OfTest>> {
            let found = self.wheel.expired(&self.rows, Moment(ms * 1000), most);
            found.iter().for_each(|id| self.wheel.disarm(&mut self.rows, *id));
            found
        }
    }

    #[test]
    fn a_deadline_fires_when_it_has_passed_and_not_before() {
        let mut clock = Clock::new();
        let id = clock.arm(200);
        assert_eq!(clock.wheel.next(), Some(Moment(200_000)));
        assert_eq!(clock.expire(199), []);
        assert_eq!(clock.expire(200), [id]);
        assert_eq!(clock.wheel.next(), None);
    }

    #[test]
    fn a_deadline_turns_of_the_wheel_away_waits_for_its_turn() {
        let mut clock = Clock::new();
        let (far, near) = (clock.arm(10_000), clock.arm(10_000 % BUCKETS as u64));
        assert_eq!(clock.expire(5_000), [near]);
        assert_eq!(clock.expire(9_999), []);
        assert_eq!(clock.expire(10_000), [far]);
    }

    #[test]
    fn a_long_pause_misses_nothing() {
        let mut clock = Clock::new();
        let ids = [clock.arm(5), clock.arm(4_000), clock.arm(8_191), clock.arm(1_000_000)];
        assert_eq!(clock.expire(1_000_001).len(), ids.len());
    }

    #[test]
    fn a_deadline_set_after_a_pause_is_found() {
        let mut clock = Clock::new();
        assert_eq!(clock.expire(123_456), []);
        let id = clock.arm(123_457);
        assert_eq!(clock.wheel.next(), Some(Moment(123_457_000)));
        assert_eq!(clock.expire(123_457), [id]);
    }

    #[test]
    fn what_is_due_comes_in_slices_past_what_is_not() {
        let mut clock = Clock::new();
        let turn = BUCKETS as u64;
        let ids = [10, 10 + 7 * turn, 10, 10 + 7 * turn, 10, 11].map(|ms| clock.arm(ms));
        assert_eq!(clock.expire_some(20, 2), [ids[0], ids[2]]);
        assert_eq!(clock.wheel.next(), Some(Moment(10_000)));
        assert_eq!(clock.expire_some(20, 2), [ids[4], ids[5]]);
        assert_eq!(clock.expire_some(20, 2), []);
        assert_eq!(clock.expire(10 + 7 * turn), [ids[1], ids[3]]);
    }
}
