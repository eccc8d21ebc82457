//! The outlet of a connection: a queue of items, each encoded when the socket takes it.

use std::collections::BTreeMap;

use bytes::Bytes;
use ipc_protocol::{
    Body, Encoding,
    wire::{Failure, Message, Reply},
};
use serde::{Deserialize, Serialize};

use super::{
    Inlet, Sheet,
    json::{self, Desk},
    lanes::{Items, Lanes},
    native,
};
use crate::core::{Class, Item, Shed};

/// The sending half of a connection.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outlet<F> {
    /// Absent while nothing is queued, so that an idle connection owns none.
    queue: Option<Box<Queue<F>>>,
    /// Answers that wait for the others of their batch, by number.
    aside: BTreeMap<u64, Item<F>>,
}

/// The items that wait for one socket.
#[derive(Debug, Serialize, Deserialize)]
struct Queue<F> {
    /// The item that the last write ended within.
    begun: Option<Begun>,
    items: Items<F>,
    /// Items from the front that own their memory.
    detached: usize,
    /// Items from the front that were looked at by [`Outlet::arrange`].
    arranged: usize,
    /// Their cost.
    cost: usize,
    /// Whether the last write has left something.
    is_behind: bool,
    /// The events among the items, once one comes while the peer is behind.
    #[serde(skip)]
    lanes: Option<Box<Lanes>>,
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
        Self { queue: None, aside: BTreeMap::new() }
    }

    /// Queues an item. Events may be dropped for it, or be dropped themselves, if the peer is behind.
    pub fn push(&mut self, item: Item<F>, pool: &mut Pool<F>) -> Shed {
        let queue = self.queue.get_or_insert_with(|| pool.take());
        if queue.is_behind && matches!(item.class, Class::Droppable(_)) {
            return queue.push_late(item);
        }
        queue.cost += item.cost;
        queue.items.push_back(Some(item));
        Shed::default()
    }

    /// Queues an item that must arrive. Its message is built in its place.
    #[inline]
    pub fn send(&mut self, cost: usize, message: impl FnOnce() -> Message<F>, pool: &mut Pool<F>) {
        let queue = self.queue.get_or_insert_with(|| pool.take());
        queue.cost += cost;
        queue.items.push_back(None);
        if let Some(place) = queue.items.back_mut() {
            place.get_or_insert_with(|| Item { message: message(), cost, class: Class::Required, lost: 0 });
        }
    }

    /// Puts the items in the order in which the dialect of the connection has words for them. Call it before each write.
    #[inline]
    pub fn arrange(&mut self, inlet: &mut Inlet, pool: &mut Pool<F>) {
        if let Some(desk) = inlet.desk_mut() {
            self.arrange_answers(desk, pool);
        }
    }

    /// Fills a sheet with the items that fit one write, in the dialect of the connection.
    #[inline]
    pub fn encode(&self, inlet: &Inlet, sheet: &mut Sheet) {
        sheet.clear();
        if let Some(queue) = &self.queue {
            queue.encode(inlet.desk(), sheet);
        }
    }

    /// Removes the items that are complete after the first `len` bytes of the sheet were written.
    #[inline]
    pub fn wrote(&mut self, len: usize, sheet: &Sheet, inlet: &mut Inlet, pool: &mut Pool<F>) -> Written {
        let Some(queue) = &mut self.queue else { return Written::default() };
        let items = sheet.items_in(len);
        if let Some(desk) = inlet.desk_mut() {
            queue.items_begun(items, len, sheet).for_each(|item| left(&item.message, desk));
        }
        let written = if items == queue.len() { queue.clear() } else { queue.wrote(items, len, sheet) };
        if queue.len() == 0 {
            pool.put(self.queue.take());
        }
        written
    }

    /// Notes that the socket takes nothing more for now. Copies what is left out of the shared read buffer, which a connection must
    /// not pin.
    pub fn detach(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.is_behind = true;
            queue.items.range_mut(queue.detached..).flatten().for_each(|item| item.message.detach());
            queue.detached = queue.items.len();
        }
        self.aside.values_mut().for_each(|item| item.message.detach());
    }

    /// Has forgotten what is kept for the answers here, which are going to be discarded.
    pub fn forget_answers(&self, inlet: &mut Inlet) {
        if let Some(desk) = inlet.desk_mut() {
            let queued = self.queue.iter().flat_map(|queue| queue.items.iter().flatten());
            queued.chain(self.aside.values()).for_each(|item| forget(&item.message, desk));
        }
    }

    /// Discards all items.
    pub fn discard(&mut self, pool: &mut Pool<F>) -> Written {
        let mut discarded = self.queue.as_mut().map_or(Written::default(), |queue| queue.clear());
        pool.put(self.queue.take());
        for item in std::mem::take(&mut self.aside).into_values() {
            discarded.items += 1;
            discarded.cost += item.cost;
        }
        discarded
    }

    /// Whether nothing is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.len() == 0)
    }

    /// Takes answers of batches out of the queue, until all of their batch are there. Refuses calls that can't be written.
    fn arrange_answers(&mut self, desk: &mut Desk, pool: &mut Pool<F>) {
        if let Some(queue) = &mut self.queue {
            queue.arrange(desk, &mut self.aside);
        }
        while let Some(numbers) = desk.take_whole_batch() {
            let queue = self.queue.get_or_insert_with(|| pool.take());
            queue.list(&numbers, &mut self.aside); // its last element was read after its last answer was there
            queue.arranged = queue.items.len();
        }
    }
}

/// Notes what has left the queue.
fn left<F>(message: &Message<F>, desk: &mut Desk) {
    match message {
        Message::Item(item) => desk.took(item.id, item.delivered, item.body.len()),
        _ => forget(message, desk),
    }
}

/// Forgets the call that a message answers, if it does.
fn forget<F>(message: &Message<F>, desk: &mut Desk) {
    match message {
        Message::Reply(reply) => desk.forget(reply.id),
        Message::Error(failure) => desk.forget(failure.id),
        _ => {}
    }
}

/// Stands in a queue for what is not written there: JSON has no words for it.
fn wordless<F>() -> Message<F> {
    Message::Pong(0)
}

/// Appends a message to a sheet.
#[inline]
fn encode<F>(message: &Message<F>, desk: Option<&Desk>, sheet: &mut Sheet) {
    match desk {
        None => native::encode(message, sheet),
        Some(desk) => json::encode(message, desk, sheet.bytes()),
    }
}

impl<F> Queue<F> {
    /// The number of its items, with a partly written one.
    #[inline]
    fn len(&self) -> usize {
        self.items.len() + usize::from(self.begun.is_some())
    }

    /// Empties it, and keeps its memory.
    #[inline]
    fn clear(&mut self) -> Written {
        let all = Written { items: self.len(), cost: self.cost };
        self.begun = None;
        self.items.clear();
        (self.detached, self.arranged, self.cost, self.is_behind, self.lanes) = (0, 0, 0, false, None);
        all
    }

    /// Queues an event of a peer that is behind.
    #[cold]
    fn push_late(&mut self, item: Item<F>) -> Shed {
        let Class::Droppable(keep) = item.class else { return Shed::default() };
        let lanes = self.lanes.get_or_insert_with(|| Box::new(Lanes::of(&self.items)));
        let (cost, len) = (item.cost, self.items.len());
        let shed = lanes.push(&mut self.items, self.cost, item, keep);
        self.cost = (self.cost + cost).saturating_sub(shed.cost);
        if self.items.len() < len {
            (self.detached, self.arranged) = (0, 0); // places have moved
        }
        shed
    }

    /// Looks at the items that came since the last time.
    fn arrange(&mut self, desk: &mut Desk, aside: &mut BTreeMap<u64, Item<F>>) {
        let mut has_batched = false;
        for item in self.items.range_mut(self.arranged..).flatten() {
            match &item.message {
                Message::Reply(Reply { id, .. }) | Message::Error(Failure { id, .. }) => {
                    has_batched |= desk.batch_of(*id).is_some();
                }
                Message::Call(call) if !matches!(call.encoding, Encoding::JSON | Encoding::BYTES) => {
                    desk.refuse(call.id, call.encoding);
                    item.message = wordless();
                }
                Message::Call(call) => {
                    if call.encoding == Encoding::BYTES {
                        desk.deliver_bytes(call.id);
                    }
                    if call.streams.request {
                        desk.grant(call.id, true);
                    }
                }
                _ => {}
            }
        }
        if has_batched {
            self.set_aside(desk, aside);
        }
        self.arranged = self.items.len();
    }

    /// Puts answers of batches where the last one of each is.
    fn set_aside(&mut self, desk: &mut Desk, aside: &mut BTreeMap<u64, Item<F>>) {
        let came = self.items.split_off(self.arranged);
        (self.detached, self.lanes) = (self.detached.min(self.arranged), None); // places move
        for item in came {
            let number = item.as_ref().and_then(Item::answers);
            match (number.and_then(|number| Some((number, desk.batch_of(number)?))), item) {
                (Some((number, batch)), Some(mut answer)) => {
                    answer.message.detach(); // it may wait for long
                    self.cost -= answer.cost;
                    aside.insert(number, answer);
                    desk.answered(batch);
                    desk.take_whole_batch().into_iter().for_each(|numbers| self.list(&numbers, aside));
                }
                (_, item) => self.items.push_back(item),
            }
        }
    }

    /// Queues the answers of a batch, now that they are there.
    fn list(&mut self, numbers: &[u64], aside: &mut BTreeMap<u64, Item<F>>) {
        for answer in numbers.iter().filter_map(|number| aside.remove(number)) {
            self.cost += answer.cost;
            self.items.push_back(Some(answer));
        }
    }

    #[inline]
    fn encode(&self, desk: Option<&Desk>, sheet: &mut Sheet) {
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
            if let Some(item) = item {
                if let Some(gap) = item.gap() {
                    encode(&gap, desk, sheet);
                }
                encode(&item.message, desk, sheet);
            }
            sheet.end_item();
        }
    }

    /// The items that the first `len` bytes of the sheet hold something of, but for the partly written one.
    fn items_begun(&self, items: usize, len: usize, sheet: &Sheet) -> impl Iterator<Item = &Item<F>> {
        let is_cut = len < sheet.len() && sheet.left_of(items, len).is_some();
        let begun = items + usize::from(is_cut) - usize::from(self.begun.is_some() && items + usize::from(is_cut) > 0);
        self.items.iter().take(begun).flatten()
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
        for item in self.items.drain(..whole) {
            written.cost += item.as_ref().map_or(0, |item| item.cost);
            if let Some(lanes) = &mut self.lanes {
                lanes.left(item.as_ref());
            }
        }
        self.detached = self.detached.saturating_sub(whole);
        self.arranged = self.arranged.saturating_sub(whole);
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
        self.arranged = self.arranged.saturating_sub(1);
        let item = self.items.pop_front()?;
        if let Some(lanes) = &mut self.lanes {
            lanes.left(item.as_ref());
        }
        item
    }
}

impl<F> Default for Queue<F> {
    fn default() -> Self {
        let items = Items::new();
        Self { begun: None, items, detached: 0, arranged: 0, cost: 0, is_behind: false, lanes: None }
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

    #[inline]
    fn take(&mut self) -> Box<Queue<F>> {
        let empty = || Box::<Queue<F>>::default();
        let Some(queue) = self.spare.pop() else { return empty() };
        self.room -= queue.items.capacity();
        queue
    }

    #[inline]
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
mod tests;
