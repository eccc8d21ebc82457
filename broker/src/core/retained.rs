//! Kept events: the last one of each topic that was published with `retained`.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included, Unbounded},
};

use ipc_protocol::wire::Event;
use serde::{Deserialize, Serialize};

use super::{ids::AccountId, moment::Moment};

/// The kept events, by topic.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Retained<F> {
    topics: BTreeMap<Box<str>, Kept<F>>,
    bytes: u64,
    by_uid: BTreeMap<u32, u64>,
    /// The most bytes that were ever kept, and of one user.
    peak: u64,
    peak_per_uid: u64,
    /// The number of events published so far.
    order: u64,
}

/// A kept event.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kept<F> {
    /// As it is delivered, without the number of a subscription.
    pub(crate) event: Event<F>,
    /// The account that is charged for it.
    pub(crate) payer: AccountId,
    /// The user who published it.
    pub(crate) uid: u32,
    pub(crate) published: Moment,
    /// The order of the last event of the topic, kept or not.
    pub(crate) order: u64,
}

/// Bytes of kept events: of all, and of the user with most of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) bytes: u64,
    pub(crate) per_uid: u64,
    pub(crate) peak: u64,
    pub(crate) peak_per_uid: u64,
}

impl<F> Kept<F> {
    /// The bytes charged for it.
    pub(crate) fn charge(&self) -> usize {
        charge_of(&self.event)
    }
}

/// The bytes charged for keeping an event.
pub(crate) fn charge_of<F>(event: &Event<F>) -> usize {
    const ROW: usize = 384;
    ROW + event.topic().len() + event.routing.raw().len() + event.body.len()
}

impl<F> Retained<F> {
    pub(crate) fn new() -> Self {
        Self { topics: BTreeMap::new(), bytes: 0, by_uid: BTreeMap::new(), peak: 0, peak_per_uid: 0, order: 0 }
    }

    /// Keeps an event in place of the one before, which is returned.
    pub(crate) fn keep(&mut self, kept: Kept<F>) -> Option<Kept<F>> {
        let (uid, charge) = (kept.uid, kept.charge() as u64);
        let before = self.clear(kept.event.topic());
        self.bytes += charge;
        let of_user = self.by_uid.entry(uid).or_default();
        *of_user += charge;
        self.peak_per_uid = self.peak_per_uid.max(*of_user);
        self.peak = self.peak.max(self.bytes);
        self.topics.insert(kept.event.topic().into(), kept);
        before
    }

    /// Forgets the kept event of a topic, and returns it.
    pub(crate) fn clear(&mut self, topic: &str) -> Option<Kept<F>> {
        let kept = self.topics.remove(topic)?;
        let charge = kept.charge() as u64;
        self.bytes -= charge;
        if let Some(of_user) = self.by_uid.get_mut(&kept.uid) {
            *of_user -= charge;
            if *of_user == 0 {
                self.by_uid.remove(&kept.uid);
            }
        }
        Some(kept)
    }

    /// Forgets all, and returns them.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Kept<F>> + use<F> {
        (self.bytes, self.by_uid) = (0, BTreeMap::new());
        std::mem::take(&mut self.topics).into_values()
    }

    /// Notes that an event is published, and returns its order. Subscriptions that still receive kept events leave out the one of
    /// this topic, because it is older.
    #[inline]
    pub(crate) fn pass(&mut self, topic: &str) -> u64 {
        self.order += 1;
        if !self.topics.is_empty()
            && let Some(kept) = self.topics.get_mut(topic)
        {
            kept.order = self.order;
        }
        self.order
    }

    /// The number of events published so far.
    pub(crate) fn order(&self) -> u64 {
        self.order
    }

    pub(crate) fn get(&self, topic: &str) -> Option<&Kept<F>> {
        self.topics.get(topic)
    }

    /// The kept events whose topics start with `prefix`, in order of topics, after one of them.
    pub(crate) fn after(&self, after: Option<&str>, prefix: &str) -> impl Iterator<Item = (&str, &Kept<F>)> {
        let first = match after {
            Some(after) if after >= prefix => Excluded(after),
            _ if prefix.is_empty() => Unbounded,
            _ => Included(prefix),
        };
        let rows = self.topics.range::<str, _>((first, Unbounded)).map(|(topic, kept)| (&**topic, kept));
        rows.take_while(move |(topic, _)| topic.starts_with(prefix))
    }

    /// Bytes kept for all.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes kept for one user.
    pub(crate) fn bytes_of(&self, uid: u32) -> u64 {
        self.by_uid.get(&uid).copied().unwrap_or(0)
    }

    /// How much is and was kept.
    pub(crate) fn sums(&self) -> Sums {
        let per_uid = self.by_uid.values().copied().max().unwrap_or(0);
        Sums { bytes: self.bytes, per_uid, peak: self.peak, peak_per_uid: self.peak_per_uid }
    }

    pub(crate) fn len(&self) -> usize {
        self.topics.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Kept<F>> {
        self.topics.values()
    }

    /// Checks the sums. For the invariants.
    ///
    /// # Panics
    /// If they are wrong.
    pub(crate) fn assert_sums(&self) {
        let mut sums = BTreeMap::new();
        self.iter().for_each(|kept| *sums.entry(kept.uid).or_default() += kept.charge() as u64);
        assert_eq!(sums, self.by_uid, "bytes of kept events, by user");
        assert_eq!(sums.values().sum::<u64>(), self.bytes, "bytes of kept events");
    }
}
