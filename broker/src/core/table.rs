//! A table of rows with ids that are never valid again once their row is gone.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::ids::Id;

/// Rows by id. A place whose generations are used up is never used again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "T: Serialize", deserialize = "T: Deserialize<'de>"))]
pub(crate) struct Table<K, T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    /// The number of rows. Places minus free ones would be wrong, because some places are used up.
    len: usize,
    /// The generation of a new place: no place that was given back had a higher one.
    newest: NonZeroU32,
    #[serde(skip)]
    kind: std::marker::PhantomData<fn() -> K>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Place<T> {
    generation: NonZeroU32,
    row: Option<T>,
}

impl<K, T> Table<K, T> {
    pub(crate) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), len: 0, newest: NonZeroU32::MIN, kind: std::marker::PhantomData }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// At 2^32 rows. Calls are the most numerous: what is charged for one lets the default limits hold fewer than 2^21, and 2^32 would
    /// take 640 GiB.
    pub(crate) fn insert(&mut self, row: T) -> Id<K> {
        self.len += 1;
        if let Some(index) = self.free.pop()
            && let Some(place) = self.places.get_mut(index as usize)
        {
            place.row = Some(row);
            return Id::new(index, place.generation);
        }
        let index = u32::try_from(self.places.len()).expect("memory ends before 2^32 rows");
        self.places.push(Place { generation: self.newest, row: Some(row) });
        Id::new(index, self.newest)
    }

    /// Takes a row out. Its id is never valid again.
    pub(crate) fn remove(&mut self, id: Id<K>) -> Option<T> {
        self.empty(id, Option::take)
    }

    /// Drops a row in place, after a last look at it. Its id is never valid again.
    pub(crate) fn drop_row<R>(&mut self, id: Id<K>, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.empty(id, |row| {
            let seen = row.as_ref().map(look);
            *row = None;
            seen
        })
    }

    #[inline]
    fn empty<R>(&mut self, id: Id<K>, take: impl FnOnce(&mut Option<T>) -> Option<R>) -> Option<R> {
        let place = self.places.get_mut(id.index()).filter(|place| place.generation == id.generation())?;
        let taken = take(&mut place.row)?;
        self.len -= 1;
        if let Some(next) = place.generation.checked_add(1) {
            place.generation = next;
            self.free.push(u32::try_from(id.index()).unwrap_or(u32::MAX));
        }
        Some(taken)
    }

    /// Whether far more places than rows are kept.
    pub(crate) fn is_roomy(&self) -> bool {
        self.places.len() >= 2 * FEW && self.len < self.places.len() / 4
    }

    /// Gives back the empty places at the end. A row further on than the others keeps those before it.
    pub(crate) fn give_back(&mut self) {
        // A place that is used up stays, because it is what says so.
        let is_empty = |place: &&Place<T>| place.row.is_none() && place.generation < NonZeroU32::MAX;
        let empty = self.places.iter().rev().take_while(is_empty).count();
        let kept = (self.places.len() - empty).max(FEW.min(self.places.len()));
        let newest = self.places.drain(kept..).map(|place| place.generation).max();
        self.newest = self.newest.max(newest.unwrap_or(self.newest));
        self.places.shrink_to(2 * kept);
        self.free.retain(|index| (*index as usize) < kept);
        self.free.sort_unstable_by(|one, other| other.cmp(one)); // the last one is used next: rows gather at the front
        self.free.shrink_to(2 * kept);
    }

    pub(crate) fn get(&self, id: Id<K>) -> Option<&T> {
        let place = self.places.get(id.index())?;
        if place.generation == id.generation() { place.row.as_ref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, id: Id<K>) -> Option<&mut T> {
        let place = self.places.get_mut(id.index())?;
        if place.generation == id.generation() { place.row.as_mut() } else { None }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id<K>, &T)> {
        self.places
            .iter()
            .zip(0..)
            .filter_map(|(place, index)| Some((Id::new(index, place.generation), place.row.as_ref()?)))
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// The number of places that are kept in any case.
const FEW: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    enum OfTest {}

    #[test]
    fn a_dead_id_finds_nothing_even_when_its_place_is_used_again() {
        let mut table: Table<OfTest, _> = Table::new();
        let first = table.insert("a");
        assert_eq!(table.remove(first), Some("a"));
        let second = table.insert("b");
        assert_eq!(second.index(), first.index());
        assert_eq!(table.get(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get(second), Some(&"b"));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_place_whose_generations_are_used_up_holds_no_row() {
        let mut table: Table<OfTest, _> = Table::new();
        let first = table.insert("a");
        table.places[0].generation = NonZeroU32::MAX;
        let last = Id::new(0, NonZeroU32::MAX);
        assert_eq!(table.get(first), None);

        assert_eq!(table.remove(last), Some("a"));

        assert_eq!((table.len(), table.get(last)), (0, None));
        assert_eq!(table.remove(last), None);
        let next = table.insert("b");
        assert_eq!((next.index(), table.len()), (1, 1));
    }

    #[test]
    fn the_memory_of_rows_that_have_gone_is_given_back() {
        let mut table: Table<OfTest, _> = Table::new();
        let stays = table.insert(0);
        let ids: Vec<_> = (1..=100_000).map(|row| table.insert(row)).collect();
        assert!(!table.is_roomy());
        ids.iter().for_each(|id| _ = table.remove(*id));
        assert!(table.is_roomy());
        table.give_back();
        assert!(!table.is_roomy());
        assert!(table.places.capacity() + table.free.capacity() <= 4 * FEW, "{} places", table.places.capacity());
        assert_eq!((table.insert(1).index(), table.get(stays)), (1, Some(&0)));
    }

    #[test]
    fn an_id_whose_place_was_given_back_is_never_valid_again() {
        let mut table: Table<OfTest, _> = Table::new();
        let before: Vec<_> = (0..10_000).map(|row| table.insert(row)).collect();
        before.iter().for_each(|id| _ = table.remove(*id));
        table.give_back();
        assert!(table.places.len() < 10_000);
        let after: std::collections::BTreeSet<_> = (0..10_000).map(|row| table.insert(row)).collect();
        assert!(before.iter().all(|id| table.get(*id).is_none() && !after.contains(id)));
    }

    #[test]
    fn an_id_survives_as_a_number() {
        let mut table: Table<OfTest, _> = Table::new();
        let id = table.insert(1);
        assert_eq!(Id::from_bits(id.to_bits()), Some(id));
        assert_eq!(Id::<OfTest>::from_bits(7), None);
    }
}
