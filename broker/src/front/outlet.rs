//! The outlet of a connection: a queue of items, each encoded when the socket takes it.

use std::collections::VecDeque;

use bytes::Bytes;
use ipc_protocol::Body;
use serde::{Deserialize, Serialize};

use super::{Dialect, Sheet};
use crate::core::{Class, Item};

/// The sending half of a connection.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outlet<F> {
    /// Absent while nothing is queued, so that an idle connection owns none.
    queue: Option<Box<Queue<F>>>,
}

/// The items that wait for one socket.
#[derive(Debug, Serialize, Deserialize)]
struct Queue<F> {
    /// The item that the last write ended within.
    begun: Option<Begun>,
    items: VecDeque<Item<F>>,
    /// Items from the front that own their memory.
    detached: usize,
    /// Their cost.
    cost: usize,
}

/// The rest of an item that was partly written.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    cost: usize,
    bytes: Vec<u8>,
    body: Bytes,
}

/// Items that have left an outlet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Their number.
    pub items: usize,
    /// Their cost.
    pub cost: usize,
}

/// Queues of outlets that have become empty, for reuse.
#[derive(Debug)]
pub struct Pool<F> {
    #[expect(clippy::vec_box, reason = "the boxes move between pool and outlets; an idle outlet is one pointer")]
    spare: Vec<Box<Queue<F>>>,
    /// The number of items that they have memory for.
    room: usize,
}

impl<F> Outlet<F> {
    /// An empty outlet.
    #[must_use]
    pub fn new() -> Self {
        Self { queue: None }
    }

    /// Queues an item.
    #[inline]
    pub fn push(&mut self, item: Item<F>, pool: &mut Pool<F>) {
        let queue = self.queue.get_or_insert_with(|| pool.take());
        queue.cost += item.cost;
        queue.items.push_back(item);
    }

    /// Fills a sheet with the items that fit one write.
    pub fn encode(&self, dialect: Dialect, sheet: &mut Sheet) {
        sheet.clear();
        if let Some(queue) = &self.queue {
            queue.encode(dialect, sheet);
        }
    }

    /// Removes the items that are complete after the first `len` bytes of the sheet were written.
    pub fn wrote(&mut self, len: usize, sheet: &Sheet, pool: &mut Pool<F>) -> Written {
        let Some(queue) = &mut self.queue else { return Written::default() };
        let items = sheet.items_in(len);
        let written = if items == queue.len() { queue.clear() } else { queue.wrote(items, len, sheet) };
        if queue.len() == 0 {
            pool.put(self.queue.take());
        }
        written
    }

    /// Copies unwritten items out of the shared read buffer, which a connection must not pin.
    pub fn detach(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.items.range_mut(queue.detached..).for_each(|item| item.message.detach());
            queue.detached = queue.items.len();
        }
    }

    /// Drops the oldest droppable items that are not partly written, until they cost at least `cost` together.
    pub fn shed(&mut self, cost: usize) -> Written {
        let mut shed = Written::default();
        let Some(queue) = &mut self.queue else { return shed };
        queue.items.retain(|item| {
            let goes = item.class == Class::Droppable && shed.cost < cost;
            if goes {
                shed.items += 1;
                shed.cost += item.cost;
            }
            !goes
        });
        queue.detached = 0;
        queue.cost -= shed.cost;
        shed
    }

    /// Discards all items.
    pub fn discard(&mut self, pool: &mut Pool<F>) -> Written {
        let discarded = self.queue.as_mut().map_or(Written::default(), |queue| queue.clear());
        pool.put(self.queue.take());
        discarded
    }

    /// Whether nothing is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.len() == 0)
    }
}

impl<F> Queue<F> {
    /// The number of its items, with a partly written one.
    fn len(&self) -> usize {
        self.items.len() + usize::from(self.begun.is_some())
    }

    /// Empties it, and keeps its memory.
    fn clear(&mut self) -> Written {
        let all = Written { items: self.len(), cost: self.cost };
        self.begun = None;
        self.items.clear();
        (self.detached, self.cost) = (0, 0);
        all
    }

    fn encode(&self, dialect: Dialect, sheet: &mut Sheet) {
        if let Some(begun) = &self.begun {
            sheet.bytes().extend_from_slice(&begun.bytes);
            if !begun.body.is_empty() {
                sheet.refer(&begun.body);
            }
            sheet.end_item();
        }
        for item in &self.items {
            if sheet.is_full() {
                return;
            }
            dialect.encode(&item.message, sheet);
            sheet.end_item();
        }
    }

    /// Removes the first items, and the front of the next one if `len` bytes reach into it.
    fn wrote(&mut self, items: usize, len: usize, sheet: &Sheet) -> Written {
        let left = if len == sheet.len() { None } else { sheet.left_of(items, len) };
        let mut written = Written { items, cost: 0 };
        let whole = match self.begun.take_if(|_| items > 0) {
            Some(begun) => {
                written.cost += begun.cost;
                items - 1
            }
            None => items,
        };
        written.cost += self.items.drain(..whole).map(|item| item.cost).sum::<usize>();
        self.detached = self.detached.saturating_sub(whole);
        self.cost -= written.cost;
        if let Some(left) = left {
            let (cost, pinned) = match self.begun.take() {
                Some(begun) => (begun.cost, false),
                None => self.pop().map_or((0, false), |item| {
                    (item.cost, matches!(item.message.body(), Some(Body::Inline { pinned: true, .. })))
                }),
            };
            let body = if pinned { Bytes::copy_from_slice(&left.body) } else { left.body };
            self.begun = Some(Begun { cost, bytes: left.bytes, body });
        }
        written
    }

    fn pop(&mut self) -> Option<Item<F>> {
        self.detached = self.detached.saturating_sub(1);
        self.items.pop_front()
    }
}

impl<F> Default for Outlet<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F> Pool<F> {
    /// A pool without queues.
    #[must_use]
    pub fn new() -> Self {
        Self { spare: Vec::new(), room: 0 }
    }

    fn take(&mut self) -> Box<Queue<F>> {
        let empty = || Box::new(Queue { begun: None, items: VecDeque::new(), detached: 0, cost: 0 });
        let Some(queue) = self.spare.pop() else { return empty() };
        self.room -= queue.items.capacity();
        queue
    }

    fn put(&mut self, queue: Option<Box<Queue<F>>>) {
        if let Some(queue) = queue
            && self.spare.len() < SPARE
            && self.room + queue.items.capacity() <= ROOM
        {
            self.room += queue.items.capacity();
            self.spare.push(queue);
        }
    }
}

impl<F> Default for Pool<F> {
    fn default() -> Self {
        Self::new()
    }
}

/// The number of queues kept for reuse: one for each connection that a turn serves.
const SPARE: usize = 512;
/// The number of items that these have memory for, together: about 1 MiB.
const ROOM: usize = 4_096;

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use ipc_protocol::{
        Decoder, Encoding, Incoming, NoFd,
        wire::{Message, Reply},
    };

    use super::*;

    fn item(id: u64, len: usize, class: Class) -> Item<NoFd> {
        let body = vec![u8::try_from(id).unwrap(); len].into();
        Item { class, ..Item::required(Message::Reply(Reply { id, encoding: Encoding::BYTES, body })) }
    }

    fn outlet_with(items: Vec<Item<NoFd>>) -> (Outlet<NoFd>, Pool<NoFd>) {
        let (mut outlet, mut pool) = (Outlet::new(), Pool::new());
        items.into_iter().for_each(|item| outlet.push(item, &mut pool));
        (outlet, pool)
    }

    /// Writes up to `step` bytes at a time, until the outlet is empty.
    fn drain(outlet: &mut Outlet<NoFd>, pool: &mut Pool<NoFd>, step: usize) -> (Vec<u8>, Written) {
        let (mut sheet, mut bytes, mut written) = (Sheet::new(), Vec::new(), Written::default());
        while !outlet.is_empty() {
            outlet.encode(Dialect::Native, &mut sheet);
            let mut slices = [IoSlice::new(&[]); Sheet::PIECES];
            let count = sheet.pieces(&mut slices);
            let all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            assert_eq!(all.len(), sheet.len());
            let len = step.min(all.len());
            bytes.extend_from_slice(&all[..len]);
            outlet.detach();
            let done = outlet.wrote(len, &sheet, pool);
            written = Written { items: written.items + done.items, cost: written.cost + done.cost };
        }
        (bytes, written)
    }

    #[test]
    fn what_leaves_in_pieces_is_what_was_queued_and_costs_the_same() {
        let items = || -> Vec<_> {
            [0, 1, 256, 257, 3_000, 0, 0].iter().zip(1..).map(|(len, id)| item(id, *len, Class::Required)).collect()
        };
        let cost = items().iter().map(|item| item.cost).sum();
        let whole: Vec<u8> = items().iter().flat_map(|item| item.message.to_vec()).collect();
        for step in [1, 7, 31, 32, 33, 300, 5_000, usize::MAX] {
            let (mut outlet, mut pool) = outlet_with(items());
            let (bytes, written) = drain(&mut outlet, &mut pool, step);
            assert!(bytes == whole, "in steps of {step} bytes");
            assert_eq!(written, Written { items: 7, cost });
        }
    }

    #[test]
    fn items_that_may_be_dropped_are_dropped_and_counted_oldest_first() {
        let classes = [Class::Droppable, Class::Required, Class::Droppable, Class::Droppable];
        let items: Vec<_> = classes.into_iter().zip(1..).map(|(class, id)| item(id, 10, class)).collect();
        let cost = items[0].cost;
        let (mut outlet, mut pool) = outlet_with(items);

        assert_eq!(outlet.shed(cost + 1), Written { items: 2, cost: 2 * cost });

        let (bytes, written) = drain(&mut outlet, &mut pool, usize::MAX);
        assert_eq!(written.items, 2);
        let mut decoder = Decoder::new(1_000);
        decoder.feed(bytes.into());
        let ids: Vec<u64> = std::iter::from_fn(|| match decoder.next().unwrap() {
            Some(Incoming::Frame(frame)) => Some(frame.header.id),
            _ => None,
        })
        .collect();
        assert_eq!(ids, [2, 4]);
    }

    #[test]
    fn an_item_that_was_begun_is_not_dropped() {
        let (mut outlet, mut pool) = outlet_with(vec![item(1, 300, Class::Droppable), item(2, 10, Class::Droppable)]);
        let mut sheet = Sheet::new();
        outlet.encode(Dialect::Native, &mut sheet);
        assert_eq!(outlet.wrote(50, &sheet, &mut pool).items, 0);
        assert_eq!(outlet.shed(usize::MAX).items, 1);
        let (bytes, _) = drain(&mut outlet, &mut pool, usize::MAX);
        assert_eq!(bytes.len(), 32 + 300 - 50);
    }

    #[test]
    fn what_is_left_is_written_down_and_read_again() {
        let items = vec![item(1, 300, Class::Required), item(2, 10, Class::Required)];
        let whole: Vec<u8> = items.iter().flat_map(|item| item.message.to_vec()).collect();
        let (mut outlet, mut pool) = outlet_with(items);
        let mut sheet = Sheet::new();
        outlet.encode(Dialect::Native, &mut sheet);
        outlet.wrote(100, &sheet, &mut pool);

        let state = serde_json::to_string(&outlet).unwrap();
        let mut thawed: Outlet<NoFd> = serde_json::from_str(&state).unwrap();

        assert!(drain(&mut thawed, &mut pool, usize::MAX).0 == whole[100..]);
    }

    #[test]
    fn an_empty_outlet_owns_no_memory() {
        let (mut outlet, mut pool) = outlet_with(vec![item(1, 10, Class::Required)]);
        drain(&mut outlet, &mut pool, usize::MAX);
        assert_eq!((outlet.queue.is_none(), pool.spare.len()), (true, 1));
    }
}
