//! A table of rows with ids that are never valid again once their row is gone.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Serialize};

/// Id of a row: its place, and how often the place was used before. Typed by the row, so that ids do not mix.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Id<T> {
    index: u32,
    generation: u32,
    #[serde(skip)]
    row: PhantomData<fn() -> T>,
}

/// Rows by id. A place whose generations are used up is never used again.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Table<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    /// Rows that there are; not places less free ones, for some are used up.
    len: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Place<T> {
    generation: u32,
    row: Option<T>,
}

impl<T> Table<T> {
    pub(crate) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), len: 0 }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// At 2^32 rows, which every limit forbids long before.
    pub(crate) fn insert(&mut self, row: T) -> Id<T> {
        self.len += 1;
        if let Some(index) = self.free.pop()
            && let Some(place) = self.places.get_mut(index as usize)
        {
            place.row = Some(row);
            return Id::new(index, place.generation);
        }
        let index = u32::try_from(self.places.len()).expect("limits keep every table far below 2^32 rows");
        self.places.push(Place { generation: 1, row: Some(row) });
        Id::new(index, 1)
    }

    /// Takes a row out. Its id is dead from now on.
    pub(crate) fn remove(&mut self, id: Id<T>) -> Option<T> {
        let place = self.places.get_mut(id.index as usize).filter(|place| place.generation == id.generation)?;
        let row = place.row.take()?;
        self.len -= 1;
        if let Some(next) = place.generation.checked_add(1) {
            place.generation = next;
            self.free.push(id.index);
        }
        Some(row)
    }

    pub(crate) fn get(&self, id: Id<T>) -> Option<&T> {
        let place = self.places.get(id.index as usize)?;
        if place.generation == id.generation { place.row.as_ref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        let place = self.places.get_mut(id.index as usize)?;
        if place.generation == id.generation { place.row.as_mut() } else { None }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        self.places
            .iter()
            .zip(0..)
            .filter_map(|(place, index)| Some((Id::new(index, place.generation), place.row.as_ref()?)))
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl<T> Id<T> {
    fn new(index: u32, generation: u32) -> Self {
        Self { index, generation, row: PhantomData }
    }

    /// The place of the row, for a caller who keeps a table of its own beside this one.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// The id as one number; never given out twice.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The id of a number made by [`Id::to_bits`]. Any other number gives an id that finds no row.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the number")]
    pub fn from_bits(bits: u64) -> Self {
        Self::new(bits as u32, (bits >> 32) as u32)
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.index, self.generation) == (other.index, other.generation)
    }
}

impl<T> Eq for Id<T> {}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_id_finds_nothing_even_when_its_place_is_used_again() {
        let mut table = Table::new();
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
        let mut table = Table::new();
        let first = table.insert("a");
        table.places[0].generation = u32::MAX;
        let last = Id::new(0, u32::MAX);
        assert_eq!(table.get(first), None);

        assert_eq!(table.remove(last), Some("a"));

        assert_eq!((table.len(), table.get(last)), (0, None));
        assert_eq!(table.remove(last), None);
        let next = table.insert("b");
        assert_eq!((next.index(), table.len()), (1, 1));
    }

    #[test]
    fn an_id_survives_as_a_number() {
        let mut table = Table::new();
        let id = table.insert(1);
        assert_eq!(Id::from_bits(id.to_bits()), id);
        assert_eq!(table.get(Id::from_bits(0)), None);
    }
}
