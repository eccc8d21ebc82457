//! Outlets: one queue of items for each connection, and the connections to be written in this turn.

use std::collections::VecDeque;

use ipc_protocol::{NoFd, wire::Message};

use crate::{
    core::{Item, PeerId, Shed},
    front::{Outlet, Pool},
};

/// The descriptor type of the real broker: no frame carries one yet.
pub(crate) type Fd = NoFd;

/// The outlets of all connections, each at its peer's place in the router's table.
#[derive(Debug)]
pub(crate) struct Outlets {
    places: Vec<Option<Place>>,
    pool: Pool<Fd>,
    /// Connections to be written at the end of the turn.
    dirty: VecDeque<PeerId>,
}

#[derive(Debug)]
struct Place {
    id: PeerId,
    outlet: Outlet<Fd>,
    /// Whether its connection is in the list of those to write.
    dirty: bool,
    /// What was dropped since it was asked for.
    shed: Shed,
}

impl Outlets {
    pub(crate) fn new() -> Self {
        Self { places: Vec::new(), pool: Pool::new(), dirty: VecDeque::new() }
    }

    /// Adds the outlet of a connection.
    pub(crate) fn insert(&mut self, id: PeerId) {
        let index = id.index();
        if self.places.len() <= index {
            self.places.resize_with(index + 1, || None);
        }
        if let Some(place) = self.places.get_mut(index) {
            *place = Some(Place { id, outlet: Outlet::new(), dirty: false, shed: Shed::default() });
        }
    }

    /// Removes an outlet with its items.
    pub(crate) fn remove(&mut self, id: PeerId) {
        if let Some((outlet, pool)) = self.of(id) {
            outlet.discard(pool);
        }
        if let Some(place) = self.places.get_mut(id.index()) {
            place.take_if(|place| place.id == id);
        }
    }

    /// Gives back memory that is kept for reuse.
    pub(crate) fn give_back(&mut self) {
        self.pool = Pool::new();
        self.dirty.shrink_to_fit();
        let used = self.places.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.places.truncate(used);
        self.places.shrink_to_fit();
    }

    /// Queues an item, and its connection for writing. Drops the item if the connection is gone.
    pub(crate) fn push(&mut self, to: PeerId, item: Item<Fd>) {
        if let Some(place) = place(&mut self.places, to) {
            place.shed.add(place.outlet.push(item, &mut self.pool));
            place.mark(&mut self.dirty);
        }
    }

    /// Queues an item that must arrive, whose message is built in its place in the queue, as [`Outlets::push`] does.
    #[inline]
    pub(crate) fn send(&mut self, to: PeerId, cost: usize, message: impl FnOnce() -> Message<Fd>) {
        if let Some(place) = place(&mut self.places, to) {
            place.mark(&mut self.dirty);
            place.outlet.send(cost, message, &mut self.pool);
        }
    }

    /// Queues a connection for writing.
    pub(crate) fn mark(&mut self, id: PeerId) {
        if let Some(place) = place(&mut self.places, id) {
            place.mark(&mut self.dirty);
        }
    }

    /// Takes what was dropped of a connection's events since it was last asked for; `None` if nothing was.
    #[inline]
    pub(crate) fn take_shed(&mut self, id: PeerId) -> Option<Shed> {
        let place = place(&mut self.places, id).filter(|place| place.shed != Shed::default())?;
        Some(std::mem::take(&mut place.shed))
    }

    /// Takes the next connection to write.
    pub(crate) fn next_dirty(&mut self) -> Option<PeerId> {
        let id = self.dirty.pop_front()?;
        if let Some(place) = place(&mut self.places, id) {
            place.dirty = false;
        }
        Some(id)
    }

    /// Whether a connection has yet to be written.
    pub(crate) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The outlet of a connection, and the pool that its memory comes from.
    pub(crate) fn of(&mut self, id: PeerId) -> Option<(&mut Outlet<Fd>, &mut Pool<Fd>)> {
        place(&mut self.places, id).map(|place| (&mut place.outlet, &mut self.pool))
    }
}

impl Place {
    #[inline]
    fn mark(&mut self, dirty: &mut VecDeque<PeerId>) {
        if !self.dirty {
            self.dirty = true;
            dirty.push_back(self.id);
        }
    }
}

#[inline]
fn place(places: &mut [Option<Place>], id: PeerId) -> Option<&mut Place> {
    places.get_mut(id.index())?.as_mut().filter(|place| place.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Id;

    fn id(index: u64, generation: u64) -> PeerId {
        Id::from_bits(generation << 32 | index).unwrap()
    }

    #[test]
    fn a_connection_is_written_once_for_all_that_is_queued() {
        let mut outlets = Outlets::new();
        [id(0, 1), id(3, 1)].into_iter().for_each(|id| outlets.insert(id));
        [id(3, 1), id(0, 1), id(3, 1)].into_iter().for_each(|id| outlets.push(id, Item::required(Message::Pong(1))));
        assert_eq!([outlets.next_dirty(), outlets.next_dirty()], [Some(id(3, 1)), Some(id(0, 1))]);
        assert!(!outlets.has_dirty());
    }

    #[test]
    fn nothing_reaches_the_successor_of_a_connection_that_is_gone() {
        let mut outlets = Outlets::new();
        outlets.insert(id(0, 1));
        outlets.remove(id(0, 1));
        outlets.insert(id(0, 2));
        outlets.push(id(0, 1), Item::required(Message::Pong(1)));
        assert!(outlets.of(id(0, 1)).is_none());
        assert!(outlets.of(id(0, 2)).is_some_and(|(outlet, _)| outlet.is_empty()));
        assert!(!outlets.has_dirty());
    }
}
