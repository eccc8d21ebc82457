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
        Self { places: Vec::new(), free: Vec::new(), len: 0, kind: std::marker::PhantomData }
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
        self.places.push(Place { generation: NonZeroU32::MIN, row: Some(row) });
        Id::new(index, NonZeroU32::MIN)
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
    fn an_id_survives_as_a_number() {
        let mut table: Table<OfTest, _> = Table::new();
        let id = table.insert(1);
        assert_eq!(Id::from_bits(id.to_bits()), Some(id));
        assert_eq!(Id::<OfTest>::from_bits(7), None);
    }
}
