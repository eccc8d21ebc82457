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
        Message::Reply(reply) => desk.forget(reply.id),
        Message::Error(failure) => desk.forget(failure.id),
        Message::Item(item) => desk.took(item.id, item.delivered, item.body.len()),
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
mod tests {
    use std::io::IoSlice;

    use ipc_protocol::{
        Decoder, Encoding, Incoming, NoFd, Routing,
        control::Keeping,
        wire::{Event, Message, Reply},
    };

    use super::*;
    use crate::core::Keep;

    fn item(id: u64, len: usize, class: Class) -> Item<NoFd> {
        let body = vec![u8::try_from(id).unwrap(); len].into();
        Item { class, ..Item::required(Message::Reply(Reply { id, encoding: Encoding::BYTES, body })) }
    }

    fn outlet_with(items: Vec<Item<NoFd>>) -> (Outlet<NoFd>, Pool<NoFd>) {
        let (mut outlet, mut pool) = (Outlet::new(), Pool::new());
        items.into_iter().for_each(|item| _ = outlet.push(item, &mut pool));
        (outlet, pool)
    }

    /// Writes up to `step` bytes at a time, until the outlet is empty.
    fn drain(outlet: &mut Outlet<NoFd>, pool: &mut Pool<NoFd>, step: usize) -> (Vec<u8>, Written) {
        let (mut sheet, mut bytes, mut written) = (Sheet::new(), Vec::new(), Written::default());
        while !outlet.is_empty() {
            outlet.encode(&Inlet::default(), &mut sheet);
            let mut slices = [IoSlice::new(&[]); Sheet::PIECES];
            let count = sheet.pieces(&mut slices);
            let all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            assert_eq!(all.len(), sheet.len());
            let len = step.min(all.len());
            bytes.extend_from_slice(&all[..len]);
            outlet.detach();
            let done = outlet.wrote(len, &sheet, &mut Inlet::default(), pool);
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

    type MakeEvent = Box<dyn Fn(u64, &str, &str) -> Item<NoFd>>;

    /// The outlet of a peer that has left something of the first item.
    fn outlet_behind(keeping: Keeping) -> (Outlet<NoFd>, Pool<NoFd>, MakeEvent) {
        let (mut outlet, mut pool) = outlet_with(vec![item(1, 300, Class::Required)]);
        let mut sheet = Sheet::new();
        outlet.encode(&Inlet::default(), &mut sheet);
        outlet.wrote(50, &sheet, &mut Inlet::default(), &mut pool);
        outlet.detach();
        let event = move |id: u64, topic: &str, body: &str| {
            let message = Message::Event(Event {
                id,
                one_way: false,
                retained: false,
                encoding: Encoding::BYTES,
                publisher: Bytes::new(),
                routing: Routing::on(topic).build(),
                body: body.to_owned().into(),
            });
            let class = Class::Droppable(Keep { keeping, queue: 2, room: usize::MAX });
            Item { class, ..Item::required(message) }
        };
        (outlet, pool, Box::new(event))
    }

    /// What the peer reads behind the first item: bodies of events with their subscriptions, and numbers of lost ones.
    fn read(outlet: &mut Outlet<NoFd>, pool: &mut Pool<NoFd>, step: usize) -> Vec<String> {
        let (bytes, _) = drain(outlet, pool, step);
        let mut decoder = Decoder::new(1_000);
        decoder.feed(bytes.split_at(32 + 300 - 50).1.to_vec().into());
        std::iter::from_fn(|| match decoder.next().unwrap()? {
            Incoming::Frame(frame) => Some(match Message::decode(frame).unwrap() {
                ipc_protocol::Message::Event(event) => format!("{}:{}", event.id, event.body.escape_ascii()),
                ipc_protocol::Message::Gap(gap) => format!("{} lost {}", gap.id, gap.lost),
                other => format!("{:?}", other.kind()),
            }),
            other => panic!("{other:?}"),
        })
        .collect()
    }

    #[test]
    fn the_oldest_events_of_a_subscription_are_dropped_and_the_next_one_tells_how_many() {
        for step in [1, 40, usize::MAX] {
            let (mut outlet, mut pool, event) = outlet_behind(Keeping::DropOldest);
            let cost = event(7, "a", "1").cost;
            assert_eq!(outlet.push(event(7, "a", "1"), &mut pool), Shed::default());
            outlet.push(event(8, "a", "1"), &mut pool);
            outlet.push(item(9, 5, Class::Required), &mut pool);
            outlet.push(event(7, "a", "2"), &mut pool);
            let third = outlet.push(event(7, "a", "3"), &mut pool);
            let fourth = outlet.push(event(7, "a", "4"), &mut pool);
            assert_eq!([third, fourth], [Shed { cost, events: 1, cut: false }; 2]);
            assert_eq!(read(&mut outlet, &mut pool, step), ["8:1", "reply", "7 lost 2", "7:3", "7:4"]);
        }
    }

    #[test]
    fn the_newest_events_are_dropped_and_a_gap_behind_the_last_one_tells_how_many() {
        let (mut outlet, mut pool, event) = outlet_behind(Keeping::DropNewest);
        (1..=4).for_each(|body| _ = outlet.push(event(7, "a", &body.to_string()), &mut pool));
        assert_eq!(read(&mut outlet, &mut pool, 7), ["7:1", "7:2", "7 lost 2"]);
    }

    #[test]
    fn after_a_gap_the_next_event_that_fits_tells_of_it() {
        let (mut outlet, mut pool, event) = outlet_behind(Keeping::DropNewest);
        (1..=3).for_each(|body| _ = outlet.push(event(7, "a", &body.to_string()), &mut pool));
        let wider = Class::Droppable(Keep { keeping: Keeping::DropNewest, queue: 3, room: usize::MAX });
        outlet.push(Item { class: wider, ..event(7, "a", "4") }, &mut pool);
        assert_eq!(read(&mut outlet, &mut pool, 100), ["7:1", "7:2", "7 lost 1", "7:4"]);
    }

    #[test]
    fn the_newest_event_of_each_topic_is_kept() {
        let (mut outlet, mut pool, event) = outlet_behind(Keeping::Latest);
        for (topic, body) in [("a", "1"), ("b", "2"), ("a", "3"), ("a", "4"), ("b", "5"), ("a", "6")] {
            outlet.push(event(7, topic, body), &mut pool);
        }
        assert_eq!(read(&mut outlet, &mut pool, 33), ["7 lost 4", "7:5", "7:6"]);
    }

    #[test]
    fn a_peer_that_must_lose_nothing_is_to_be_cut() {
        let (mut outlet, mut pool, event) = outlet_behind(Keeping::Cut);
        let shed = [(); 3].map(|()| outlet.push(event(7, "a", "x"), &mut pool).cut);
        assert_eq!(shed, [false, false, true]);
    }

    #[test]
    fn an_event_that_fits_nowhere_costs_nothing_and_is_counted() {
        let (mut outlet, mut pool, event) = outlet_behind(Keeping::DropOldest);
        let narrow = Class::Droppable(Keep { keeping: Keeping::DropOldest, queue: 9, room: 0 });
        let shed = outlet.push(Item { class: narrow, ..event(7, "a", "1") }, &mut pool);
        assert_eq!(shed.cost, event(7, "a", "1").cost);
        outlet.push(Item { class: narrow, ..event(7, "a", "2") }, &mut pool);
        assert_eq!(read(&mut outlet, &mut pool, 9), ["7 lost 2"]);
    }

    #[test]
    fn the_queue_of_a_peer_that_never_reads_stays_short() {
        let (mut outlet, mut pool, event) = outlet_behind(Keeping::DropOldest);
        (0..100_000).for_each(|body| _ = outlet.push(event(7, "a", &body.to_string()), &mut pool));
        assert!(outlet.queue.as_ref().unwrap().items.len() < 300);
        assert_eq!(read(&mut outlet, &mut pool, 1_000), ["7 lost 99998", "7:99998", "7:99999"]);
    }

    #[test]
    fn what_waits_for_a_peer_goes_on_losing_after_it_was_written_down() {
        let (mut outlet, mut pool, event) = outlet_behind(Keeping::DropOldest);
        (1..=3).for_each(|body| _ = outlet.push(event(7, "a", &body.to_string()), &mut pool));
        let state = serde_json::to_string(&outlet).unwrap();
        let mut thawed: Outlet<NoFd> = serde_json::from_str(&state).unwrap();
        thawed.push(event(7, "a", "4"), &mut pool);
        assert_eq!(read(&mut thawed, &mut pool, 50), ["7 lost 2", "7:3", "7:4"]);
    }

    #[test]
    fn what_is_left_is_written_down_and_read_again() {
        let items = vec![item(1, 300, Class::Required), item(2, 10, Class::Required)];
        let whole: Vec<u8> = items.iter().flat_map(|item| item.message.to_vec()).collect();
        let (mut outlet, mut pool) = outlet_with(items);
        let mut sheet = Sheet::new();
        outlet.encode(&Inlet::default(), &mut sheet);
        outlet.wrote(100, &sheet, &mut Inlet::default(), &mut pool);

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
