//! Streams that keep no rule: items without credit, credit without measure, ends without a stream, and who never reads.

use ipc_protocol::{Call, Credit, Element, Encoding, End, ErrorCode, Message, Streams};
use ipc_tests::{
    broker::Broker,
    peer::{Peer, call},
    scene::Scene,
    siege::Siege,
};
use serde_json::json;

const BOTH: Streams = Streams { request: true, reply: true };

fn streamer(broker: &Broker, name: &str) -> Peer {
    let mut service = Peer::connect(broker);
    let _: serde_json::Value = service.ask("register", &json!({ "name": name, "window": 64, "streams": true }));
    service
}

fn start(caller: &mut Peer, id: u64, target: &str, streams: Streams) {
    caller.send(&Message::Call(Call { streams, ..call(id, target, "") }));
}

fn item(id: u64, delivered: bool, len: usize) -> Message {
    Message::Item(Element { id, delivered, encoding: Encoding::BYTES, body: vec![7; len].into() })
}

fn credit(id: u64, delivered: bool, items: u32, bytes: u64) -> Message {
    Message::Credit(Credit { id, delivered, items, bytes })
}

/// A caller and a service in the middle of a call with streams.
struct Talk {
    scene: Scene,
    caller: Peer,
    service: Peer,
    /// The broker's number of the call; the caller's is 1.
    number: u64,
}

impl Talk {
    fn of(streams: Streams) -> Self {
        let scene = Scene::start();
        let (mut caller, mut service) = (Peer::connect(&scene.broker), streamer(&scene.broker, "talk"));
        start(&mut caller, 1, "talk", streams);
        let number = service.delivered().id;
        Self { scene, caller, service, number }
    }

    /// Asserts that the call has ended with an error for both, and that all else goes on.
    #[track_caller]
    fn ends_with(mut self, code: ErrorCode) {
        let failure = std::iter::from_fn(|| self.caller.receive()).find_map(|message| match message {
            Message::Error(failure) => Some(failure),
            _ => None,
        });
        assert_eq!(failure.map(|failure| failure.code), Some(code));
        let cancel = std::iter::from_fn(|| self.service.receive()).find_map(|message| match message {
            Message::Cancel(cancel) => Some(cancel),
            _ => None,
        });
        assert_eq!(cancel.map(|cancel| (cancel.id, cancel.reason)), Some((self.number, code)));
        self.caller.settle();
        self.service.settle();
        self.goes_on();
    }

    /// Asserts that the bystanders are served, and that nothing is left of the call.
    #[track_caller]
    fn goes_on(mut self) {
        drop((self.caller, self.service));
        self.scene.nothing_is_left();
    }
}

#[test]
fn a09_an_item_beyond_the_credit_ends_its_call_alone() {
    let mut talk = Talk::of(BOTH);
    talk.service.send(&credit(talk.number, true, 2, 1_000));
    talk.service.settle();
    (0..3).for_each(|_| talk.caller.send(&item(1, false, 10)));
    talk.ends_with(ErrorCode::PROTOCOL);
}

#[test]
fn a09_an_item_of_the_service_without_credit_ends_its_call_alone() {
    let mut talk = Talk::of(BOTH);
    talk.service.send(&item(talk.number, true, 10));
    talk.ends_with(ErrorCode::PROTOCOL);
}

#[test]
fn a09_an_item_in_a_direction_that_the_call_does_not_have_ends_it_alone() {
    let mut talk = Talk::of(Streams { request: false, reply: true });
    talk.service.send(&credit(talk.number, true, u32::MAX, u64::MAX));
    talk.service.settle();
    talk.caller.send(&item(1, false, 10));
    talk.ends_with(ErrorCode::PROTOCOL);
}

#[test]
fn a09_two_ends_of_one_request_end_the_call_alone() {
    let mut talk = Talk::of(BOTH);
    (0..2).for_each(|_| talk.caller.send(&Message::End(End::complete(1))));
    talk.ends_with(ErrorCode::PROTOCOL);
}

#[test]
fn a09_an_item_that_is_too_long_ends_its_call_alone() {
    let mut talk = Talk::of(BOTH);
    talk.service.send(&credit(talk.number, true, 1, u64::MAX));
    talk.service.settle();
    talk.caller.send(&item(1, false, (1 << 20) + 1));
    talk.ends_with(ErrorCode::TOO_LARGE);
}

#[test]
fn a09_credit_without_measure_is_as_much_as_fits() {
    let mut talk = Talk::of(BOTH);
    for _ in 0..100 {
        talk.service.send(&credit(talk.number, true, u32::MAX, u64::MAX));
        talk.caller.send(&credit(1, false, u32::MAX, u64::MAX));
    }
    talk.caller.send(&item(1, false, 10));
    let is_item =
        |peer: &mut Peer| std::iter::from_fn(|| peer.receive()).find(|message| !matches!(message, Message::Credit(_)));
    assert!(matches!(is_item(&mut talk.service), Some(Message::Item(_))), "it goes on");
    talk.service.send(&item(talk.number, true, 10));
    assert!(matches!(is_item(&mut talk.caller), Some(Message::Item(_))), "in both directions");
    talk.goes_on();
}

#[test]
fn a09_credit_and_items_of_a_plain_call_do_no_harm() {
    let mut scene = Scene::start();
    let (mut caller, mut service) = (Peer::connect(&scene.broker), streamer(&scene.broker, "plain"));
    let id = caller.call("plain", "");
    let delivered = service.delivered();
    caller.send(&credit(id, false, 9, 9));
    service.send(&credit(delivered.id, true, 9, 9));
    service.answer(&delivered, "done");
    assert_eq!(caller.reply().1, "done");
    let id = caller.call("plain", "");
    caller.send(&item(id, false, 10));
    let failure = caller.failure();
    assert_eq!((failure.id, failure.code), (id, ErrorCode::PROTOCOL));
    drop((caller, service));
    scene.nothing_is_left();
}

#[test]
fn a09_frames_of_calls_of_others_are_dropped_or_cut_their_sender() {
    let mut talk = Talk::of(BOTH);
    talk.service.send(&credit(talk.number, true, 9, 1_000));
    let mut foreign = Peer::connect(&talk.scene.broker);
    (1..50).for_each(|id| foreign.send(&item(id, false, 10)));
    foreign.settle();
    assert!(talk.scene.broker.stat("stream_frames_late") >= 49);
    let number = talk.number;
    let strays = [item(number, true, 10), credit(number, true, 9, 9)].map(|message| message.to_vec()).concat();
    let _ = foreign.try_send_bytes(&strays.repeat(20));
    let goodbye = foreign.goodbye();
    assert!(goodbye.text.contains("calls that were not delivered"), "{}", goodbye.text);
    talk.caller.send(&item(1, false, 10));
    let last = std::iter::from_fn(|| talk.service.receive()).find(|message| matches!(message, Message::Item(_)));
    assert!(last.is_some(), "the call goes on");
    talk.goes_on();
}

#[test]
fn a09_numbers_that_no_credit_can_have_cut_their_sender() {
    let mut scene = Scene::start();
    let mut odd = Peer::connect(&scene.broker);
    let mut bytes = credit(1, false, 1, 1).to_vec();
    let len = bytes.len();
    bytes.truncate(len - 1); // a count of seven bytes
    bytes[20] -= 1;
    odd.send_bytes(&bytes);
    assert_eq!(odd.goodbye().code, ErrorCode::PROTOCOL);
    scene.nothing_is_left();
}

#[test]
fn c02_a_receiver_that_does_not_read_what_it_has_allowed_loses_its_call_alone() {
    let mut talk = Talk::of(Streams { request: true, reply: false });
    talk.service.send(&credit(talk.number, true, u32::MAX, u64::MAX));
    let granted = talk.caller.receive();
    assert!(matches!(granted, Some(Message::Credit(_))), "{granted:?}");
    // 16 MiB: more than may wait for one peer.
    let items = item(1, false, 65_536).to_vec().repeat(16);
    (0..16).for_each(|_| talk.caller.send_bytes(&items));
    let failure = talk.caller.failure();
    assert_eq!(failure.code, ErrorCode::BUSY, "{}", failure.text);
    assert!(talk.scene.broker.stat("bytes_held") < 8 << 20, "{} bytes", talk.scene.broker.stat("bytes_held"));
    talk.scene.bystanders_go_on();
    let cancelled = std::iter::from_fn(|| talk.service.receive()).find(|message| matches!(message, Message::Cancel(_)));
    assert!(cancelled.is_some(), "it is told once it reads");
    talk.service.settle();
    talk.goes_on();
}

#[test]
fn c02_receivers_that_do_not_read_their_streams_delay_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let (mut caller, mut service) = (Peer::connect(broker), streamer(broker, "deaf"));
        start(&mut caller, 1, "deaf", BOTH);
        let number = service.delivered().id;
        service.send(&credit(number, true, u32::MAX, u64::MAX));
        assert!(matches!(caller.receive(), Some(Message::Credit(_))));
        let items = item(1, false, 30_000).to_vec().repeat(20);
        (0..20).for_each(|_| caller.send_bytes(&items));
        assert_eq!(caller.failure().code, ErrorCode::BUSY);
    });
    siege.lift();
}

#[test]
fn c04_items_as_fast_as_they_are_taken_delay_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let (mut caller, mut service) = (Peer::connect(broker), streamer(broker, "drain"));
        start(&mut caller, 1, "drain", BOTH);
        let number = service.delivered().id;
        service.send(&credit(number, true, u32::MAX, 1 << 50));
        let reader = std::thread::spawn(move || (0..3_000).for_each(|_| drop(service.receive())));
        assert!(matches!(caller.receive(), Some(Message::Credit(_))));
        let items = item(1, false, 1_000).to_vec().repeat(100);
        (0..30).for_each(|_| caller.send_bytes(&items)); // less than may wait, if its reader is slow
        reader.join().unwrap();
    });
    siege.lift();
}

#[test]
fn b05_streams_that_are_left_idle_end_at_their_deadline_and_free_their_slots() {
    let mut scene = Scene::with_config("[limits]\ncalls_per_caller = 50\n");
    let (mut caller, mut service) = (Peer::connect(&scene.broker), streamer(&scene.broker, "idle"));
    for id in 1..=50 {
        caller.send(&Message::Call(Call { streams: BOTH, timeout_ms: 200, ..call(id, "idle", "") }));
    }
    caller.send(&Message::Call(call(51, "idle", "")));
    let codes: Vec<ErrorCode> = (0..51).map(|_| caller.failure().code).collect();
    assert_eq!(codes.iter().filter(|code| **code == ErrorCode::DEADLINE).count(), 50, "{codes:?}");
    let cancels = std::iter::from_fn(|| service.receive()).filter(|message| matches!(message, Message::Cancel(_)));
    assert_eq!(cancels.take(50).count(), 50);
    drop((caller, service));
    scene.nothing_is_left();
}
