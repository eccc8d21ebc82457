//! Outlets without sockets: what fits a write, what is left of it, and which events are dropped.

use std::io::IoSlice;

use ipc_protocol::{
    Decoder, Encoding, ErrorCode, Incoming, NoFd, Routing,
    control::Keeping,
    wire::{Event, Failure, Message, Reply},
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

#[test]
fn what_is_kept_for_answers_is_forgotten_when_they_are_discarded() {
    let (mut inlet, mut message) = (Inlet::default(), Message::Pong(0));
    let calls: Vec<_> = (1..=20).map(|id| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"a"}}"#)).collect();
    let (alone, batch) = calls.split_at(10);
    inlet.feed(format!("{} [{}]", alone.concat(), batch.join(",")).into());
    while inlet.next::<NoFd>(&mut message).unwrap().is_some() {}
    assert!(inlet.take_kept() > Some(0));

    let answer = |id| Item::required(Message::Error(Failure::new(id, ErrorCode::NO_SERVICE, "")));
    let (mut outlet, mut pool) = outlet_with((1..=20).map(answer).collect());
    outlet.arrange(&mut inlet, &mut pool);
    outlet.forget_answers(&mut inlet);
    assert_eq!(outlet.discard(&mut pool).items, 20);
    assert_eq!(inlet.take_kept(), Some(0));
}
