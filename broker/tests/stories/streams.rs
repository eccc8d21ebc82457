//! Calls with streams: items with credit, and how they end.

use ipc_protocol::{Call, Encoding, ErrorCode, Failure, Message, Routing, Streams, control};

use crate::world::{Delivered, OWNER, Peer, Request, Ticket, World, registration};

fn put() -> Request {
    Request::to("store", "").upload()
}

fn get() -> Request {
    Request::to("store", "").download()
}

fn chat() -> Request {
    put().download()
}

/// A caller in the middle of a call with streams, and the service that works on it.
struct Scene {
    w: World,
    svc: Peer,
    c: Peer,
    call: Ticket,
    at_service: Delivered,
}

impl Scene {
    fn of(request: Request) -> Self {
        Self::in_world(World::new(), request)
    }

    fn in_world(w: World, request: Request) -> Self {
        Self::in_world_with(w, "store", request)
    }

    fn in_world_with(mut w: World, name: &str, request: Request) -> Self {
        let (svc, c) = (w.streamer(name, 8), w.peer(OWNER));
        let request = Request { service: name.to_owned(), ..request };
        let call = w.make(c, request);
        let at_service = w.next_call(svc);
        w.clear_inbox(c);
        w.clear_inbox(svc);
        Self { w, svc, c, call, at_service }
    }
}

#[test]
fn items_of_a_request_arrive_in_order_and_the_reply_ends_the_call() {
    let Scene { mut w, svc, c, call, at_service } = Scene::of(put());
    w.grant_back(&at_service, 3, 100);
    assert_eq!(w.take_stream(c), ["+3/100"]);

    w.send_item(call, b"one");
    w.send_item(call, b"two");
    w.end_items(call, None, "");
    assert_eq!(w.take_stream(svc), ["one", "two", "."]);

    w.reply(&at_service, b"kept");
    assert_eq!(w.expect_reply(call).body, &b"kept"[..]);
    w.end();
}

#[test]
fn items_of_an_answer_arrive_in_order_and_before_the_reply() {
    let Scene { mut w, c, call, at_service, .. } = Scene::of(get());
    w.grant(call, 2, 100);

    w.send_item_back(&at_service, b"one");
    w.send_item_back(&at_service, b"two");
    w.reply(&at_service, b"all");

    assert_eq!(w.take_stream(c), ["one", "two"]);
    w.expect_reply(call);
    w.end();
}

#[test]
fn both_sides_send_at_once_in_a_two_way_stream() {
    let Scene { mut w, svc, c, call, at_service } = Scene::of(chat());
    w.grant(call, 9, 100);
    w.grant_back(&at_service, 9, 100);

    w.send_item(call, b"hello");
    w.send_item_back(&at_service, b"who is there?");
    w.send_item(call, b"me");

    assert_eq!(w.take_stream(svc), ["+9/100", "hello", "me"]);
    assert_eq!(w.take_stream(c), ["+9/100", "who is there?"]);
}

#[test]
fn a_peer_that_calls_itself_tells_both_sides_apart() {
    let mut w = World::new();
    let svc = w.streamer("store", 8);
    let call = w.make(svc, chat());
    let at_service = w.next_call(svc);
    w.clear_inbox(svc);

    w.grant(call, 1, 100);
    w.send_item_back(&at_service, b"down");
    w.grant_back(&at_service, 1, 50);
    w.send_item(call, b"up");

    assert_eq!(w.take_stream(svc), ["+1/100", "down", "+1/50", "up"]);
}

#[test]
fn the_reason_why_a_request_is_incomplete_reaches_the_service() {
    let Scene { mut w, svc, call, .. } = Scene::of(put());
    w.end_items(call, Some(ErrorCode::NO_INPUT), "the file is gone");
    assert_eq!(w.take_stream(svc), [".no_input: the file is gone"]);
    w.expect_no_end(call);
}

#[test]
fn credit_and_end_that_come_before_the_call_is_delivered_are_delivered_behind_it() {
    let mut w = World::new();
    let (svc, c) = (w.streamer("store", 1), w.peer(OWNER));
    let first = w.call(c, "store", "", b"");
    let at_service = w.next_call(svc);
    let second = w.make(c, chat());
    w.grant(second, 2, 100);
    w.grant(second, 3, 200);
    w.end_items(second, Some(ErrorCode::CANCELLED), "never mind");
    assert_eq!(w.take_stream(svc), [""; 0]);
    w.clear_inbox(svc);

    w.reply(&at_service, b"");

    w.expect_reply(first);
    let kinds: Vec<_> = w.inbox(svc).iter().map(|message| message.kind().to_string()).collect();
    assert_eq!(kinds, ["call", "credit", "end"]);
    assert_eq!(w.take_stream(svc), ["+5/300", ".cancelled: never mind"]);
    w.end();
}

#[test]
fn what_waits_with_a_call_is_gone_with_it() {
    let mut w = World::new();
    let (_, c) = (w.streamer("store", 1), w.peer(OWNER));
    w.call(c, "store", "", b"");
    let before = w.bytes_held();
    let second = w.make(c, chat());
    w.end_items(second, Some(ErrorCode::CANCELLED), &"x".repeat(2_000));
    assert!(w.bytes_held() > before + 2_000);

    w.cancel(second);

    w.expect_safe(second, ErrorCode::CANCELLED);
    assert_eq!(w.bytes_held(), before);
    w.end();
}

#[test]
fn an_item_without_credit_ends_the_call_for_both_sides() {
    let Scene { mut w, call, at_service, .. } = Scene::of(chat());
    w.grant(call, 1, 100);
    w.send_item_back(&at_service, b"allowed");

    w.send_item_back(&at_service, b"not allowed");

    let failure = w.expect_error(call, ErrorCode::PROTOCOL);
    assert!(failure.text.contains("the service sent an item without credit"), "{}", failure.text);
    assert_eq!(failure.retry, ipc_protocol::Retry::Unknown);
    assert_eq!(w.cancel_of(&at_service), (ErrorCode::PROTOCOL, Some(1)));
    w.expect_open(at_service.to);
}

#[test]
fn an_item_without_credit_of_the_caller_ends_the_call_for_both_sides() {
    let Scene { mut w, call, at_service, .. } = Scene::of(put());
    w.grant_back(&at_service, 1, 1);
    w.send_item(call, b"overdraws");

    w.send_item(call, b"one more");

    assert_eq!(w.expect_error(call, ErrorCode::PROTOCOL).delivered, Some(1));
    assert_eq!(w.cancel_of(&at_service), (ErrorCode::PROTOCOL, None));
}

#[test]
fn an_item_before_the_call_is_delivered_ends_it_and_it_may_be_sent_again() {
    let mut w = World::new();
    let (_, c) = (w.streamer("store", 1), w.peer(OWNER));
    w.call(c, "store", "", b"");
    let call = w.make(c, put());

    w.send_item(call, b"early");

    w.expect_safe(call, ErrorCode::PROTOCOL);
}

#[test]
fn items_after_the_end_end_the_call() {
    let Scene { mut w, call, at_service, .. } = Scene::of(put());
    w.grant_back(&at_service, 9, 100);
    w.end_items(call, None, "");
    w.send_item(call, b"late");
    w.expect_unknown(call, ErrorCode::PROTOCOL);
}

#[test]
fn a_second_end_ends_the_call() {
    let Scene { mut w, call, .. } = Scene::of(put());
    w.end_items(call, None, "");
    w.end_items(call, None, "");
    w.expect_unknown(call, ErrorCode::PROTOCOL);
}

#[test]
fn an_item_in_a_direction_that_the_call_does_not_have_ends_it() {
    let Scene { mut w, call, at_service, .. } = Scene::of(put());
    w.grant(call, 9, 100);
    w.send_item_back(&at_service, b"not asked for");
    w.expect_unknown(call, ErrorCode::PROTOCOL);
    w.expect_open(at_service.to);
}

#[test]
fn an_item_of_an_ordinary_call_ends_it() {
    let Scene { mut w, call, at_service, .. } = Scene::of(Request::to("store", ""));
    w.send_item_back(&at_service, b"not asked for");
    w.expect_unknown(call, ErrorCode::PROTOCOL);
    assert_eq!(w.cancel_of(&at_service), (ErrorCode::PROTOCOL, None));
}

#[test]
fn credit_for_an_ordinary_call_is_dropped_and_counted() {
    let Scene { mut w, svc, c, call, at_service } = Scene::of(Request::to("store", ""));
    w.grant(call, 9, 100);
    assert_eq!(w.take_stream(svc), [""; 0]);
    w.reply(&at_service, b"");
    w.expect_reply(call);
    assert_eq!(w.stat(c, "stream_frames_late"), 1);
}

#[test]
fn an_item_over_the_limit_ends_the_call_and_is_skipped() {
    let Scene { mut w, c, call, at_service, .. } = Scene::of(get());
    w.set_limits(|limits| limits.body_bytes = 5_000);
    w.grant(call, 9, 100_000);
    w.send_item_back(&at_service, &[b'x'; 5_000]);

    w.send_item_back_cut(&at_service, &[b'x'; 8_000], 100);

    w.expect_unknown(call, ErrorCode::TOO_LARGE);
    assert_eq!(w.cancel_of(&at_service), (ErrorCode::TOO_LARGE, Some(1)));
    w.send_rest(at_service.to);
    w.reply(&at_service, b"");
    w.expect_served(c, "store", at_service.to);
    w.end();
}

#[test]
fn a_long_item_that_no_one_waits_for_does_not_wait_for_room() {
    let mut w = World::with_limits(|limits| limits.bytes_per_uid = 40_000);
    let store = w.service("other");
    let Scene { mut w, svc, call, at_service, .. } = Scene::in_world(w, get());
    w.grant(call, 9, 100_000);
    let filler = w.peer(OWNER);
    w.make_cut(filler, Request::to("other", "").body(&[b'x'; 30_000]), 100);
    w.cancel(call);

    w.send_item_back_cut(&at_service, &[b'x'; 8_000], 100);

    assert!(!w.is_parked(svc));
    w.expect_open(store);
}

#[test]
fn a_service_that_dies_ends_the_call_with_the_number_of_items_that_it_was_sent() {
    let Scene { mut w, svc, call, at_service, .. } = Scene::of(put());
    w.grant_back(&at_service, 9, 100);
    w.send_item(call, b"one");
    w.send_item(call, b"two");

    w.disconnect(svc);

    let Failure { delivered, text, .. } = w.expect_error(call, ErrorCode::SERVICE_GONE);
    assert_eq!(delivered, Some(2));
    assert!(text.contains("2 items of the request were sent on"), "{text}");
    w.end();
}

#[test]
fn a_caller_that_dies_cancels_the_call_with_the_number_of_items_that_it_was_sent() {
    let Scene { mut w, c, call, at_service, .. } = Scene::of(get());
    w.grant(call, 9, 100);
    w.send_item_back(&at_service, b"one");

    w.disconnect(c);

    assert_eq!(w.cancel_of(&at_service), (ErrorCode::CANCELLED, Some(1)));
    w.send_item_back(&at_service, b"on its way");
    w.expect_open(at_service.to);
    w.end();
}

#[test]
fn what_a_cancelled_service_sends_is_dropped_and_counted() {
    let Scene { mut w, c, call, at_service, .. } = Scene::of(get());
    w.grant(call, 1, 100);
    w.cancel(call);
    w.send_item_back(&at_service, b"on its way");
    w.send_item_back(&at_service, b"without credit");
    w.grant_back(&at_service, 1, 1);

    assert_eq!(w.take_stream(c), [""; 0]);
    w.expect_unknown(call, ErrorCode::CANCELLED);
    assert_eq!(w.cancel_of(&at_service), (ErrorCode::CANCELLED, Some(0)));
    assert_eq!(w.stat(c, "stream_frames_late"), 3);
    w.expect_open(at_service.to);
}

#[test]
fn what_a_caller_sends_after_the_reply_is_dropped() {
    let Scene { mut w, svc, c, call, at_service } = Scene::of(chat());
    w.reply(&at_service, b"enough");

    w.send_item(call, b"on its way");
    w.end_items(call, None, "");
    w.grant(call, 9, 100);

    assert_eq!(w.take_stream(svc), [""; 0]);
    w.expect_open(c);
    assert_eq!(w.stat(c, "stream_frames_late"), 3);
}

#[test]
fn a_service_that_wants_no_more_ends_the_call_with_an_error() {
    let Scene { mut w, c, call, at_service, .. } = Scene::of(put());
    w.fail(&at_service, ErrorCode::CANCELLED);
    w.expect_unknown(call, ErrorCode::CANCELLED);
    w.send_item(call, b"on its way");
    w.expect_open(c);
}

#[test]
fn a_service_cannot_say_how_many_items_it_was_sent() {
    let Scene { mut w, call, at_service, .. } = Scene::of(put());
    let claim = Failure { delivered: Some(7), ..Failure::new(at_service.call.id, ErrorCode::APP_ERROR, "no") };
    w.answer_as(at_service.to, Message::Error(claim));
    assert_eq!(w.expect_error(call, ErrorCode::APP_ERROR).delivered, None);
}

#[test]
fn the_deadline_of_a_stream_starts_anew_with_each_item_credit_and_end() {
    let Scene { mut w, call, at_service, .. } = Scene::of(chat().within(1_000));
    w.advance(900);
    w.grant_back(&at_service, 1, 100);
    w.advance(900);
    w.send_item(call, b"item");
    w.advance(900);
    w.end_items(call, None, "");
    w.advance(999);
    w.expect_no_end(call);

    w.advance(1);

    w.expect_unknown(call, ErrorCode::DEADLINE);
    assert_eq!(w.cancel_of(&at_service), (ErrorCode::DEADLINE, Some(0)));
}

#[test]
fn a_credit_of_nothing_keeps_a_silent_stream_alive() {
    let Scene { mut w, call, at_service, .. } = Scene::of(put().within(1_000));
    w.advance(900);
    w.grant(call, 0, 0);
    w.advance(900);
    w.expect_no_end(call);
    w.reply(&at_service, b"");
    w.expect_reply(call);
}

#[test]
fn an_ordinary_call_is_not_kept_alive_by_credit() {
    let Scene { mut w, call, .. } = Scene::of(Request::to("store", "").within(1_000));
    w.advance(900);
    w.grant(call, 0, 0);
    w.advance(100);
    w.expect_unknown(call, ErrorCode::DEADLINE);
}

/// A world in which 100,000 bytes of streams may wait for a peer, besides a frame of 20,000.
fn small() -> World {
    World::with_limits(|limits| {
        limits.body_bytes = 20_000;
        (limits.unread_soft_bytes, limits.unread_hard_bytes) = (50_000, 100_000 + 20_000 + 4_128);
    })
}

#[test]
fn a_caller_that_does_not_read_loses_the_stream_but_not_its_connection() {
    let Scene { mut w, c, call, at_service, .. } = Scene::in_world(small(), get());
    w.grant(call, 99, 1_000_000);
    w.pause_reading(c);
    (0..9).for_each(|_| w.send_item_back(&at_service, &[b'x'; 10_000]));
    w.expect_no_end(call);

    w.send_item_back(&at_service, &[b'x'; 10_000]);

    assert_eq!(w.cancel_of(&at_service), (ErrorCode::BUSY, Some(9)));
    w.resume_reading(c);
    w.expect_open(c);
    assert_eq!(w.take_stream(c).len(), 9);
    let failure = w.expect_error(call, ErrorCode::BUSY);
    assert!(failure.text.contains("the caller doesn't read"), "{}", failure.text);
}

#[test]
fn a_service_that_does_not_read_loses_the_stream_but_not_its_connection() {
    let Scene { mut w, svc, call, at_service, .. } = Scene::in_world(small(), put());
    w.grant_back(&at_service, 99, 1_000_000);
    w.pause_reading(svc);

    (0..10).for_each(|_| w.send_item(call, &[b'x'; 10_000]));

    assert_eq!(w.expect_error(call, ErrorCode::BUSY).delivered, Some(9));
    w.resume_reading(svc);
    w.expect_open(svc);
    assert_eq!(w.cancel_of(&at_service), (ErrorCode::BUSY, None));
}

#[test]
fn what_comes_behind_a_stream_that_was_not_read_does_not_cut_its_receiver() {
    let Scene { mut w, svc, c, call, at_service } = Scene::in_world(small(), put());
    let ordinary = w.call(c, "store", "", b"");
    let first = w.next_call(svc);
    let asked = w.call(svc, "ipc", "list", b"{}");
    w.expect_reply(asked);
    w.clear_inbox(svc);
    w.grant_back(&at_service, 100_000, 1_000_000);
    w.pause_reading(svc);

    while !w.has_ended(call) {
        w.send_item(call, b"x");
    }
    w.cancel(ordinary);
    w.send(svc, Message::Ping(7));

    w.resume_reading(svc);
    w.expect_open(svc);
    assert_eq!((w.cancel_of(&at_service).0, w.cancel_of(&first).0), (ErrorCode::BUSY, ErrorCode::CANCELLED));
    assert!(w.inbox(svc).contains(&Message::Pong(7)));
}

#[test]
fn streams_are_charged_until_the_call_ends() {
    let mut w = World::new();
    let (svc, c) = (w.streamer("store", 8), w.peer(OWNER));
    let before = w.bytes_held();
    let ordinary = w.call(c, "store", "", b"");
    let of_ordinary = w.bytes_held() - before;
    w.reply_next(svc, b"");
    w.expect_reply(ordinary);

    let call = w.make(c, chat());

    assert!(w.bytes_held() - before > of_ordinary);
    w.reply_next(svc, b"");
    w.expect_reply(call);
    assert_eq!(w.bytes_held(), before);
}

#[test]
fn a_service_without_streams_never_receives_a_call_with_one() {
    let mut w = World::new();
    let (svc, c) = (w.service("store"), w.peer(OWNER));
    let (by_name, by_number) = (w.make(c, get()), w.make(c, Request::to(&w.address(svc), "").upload()));
    w.expect_safe(by_name, ErrorCode::INVALID);
    w.expect_safe(by_number, ErrorCode::INVALID);
    w.expect_no_call(svc);
}

#[test]
fn a_peer_that_takes_streams_can_be_called_by_its_number() {
    let mut w = World::new();
    let (svc, c) = (w.streamer("store", 8), w.peer(OWNER));
    let call = w.make(c, Request::to(&w.address(svc), "").upload());
    let at_service = w.next_call(svc);
    w.grant_back(&at_service, 1, 1);
    w.send_item(call, b"up");
    assert_eq!(w.take_stream(svc), ["up"]);
}

#[test]
fn instances_of_a_shared_name_agree_about_streams() {
    let mut w = World::new();
    let (one, other) = (w.peer(OWNER), w.peer(OWNER));
    let with = |streams| control::Register { shared: true, streams, ..registration(Some("pool"), 1) };
    let (first, second, third) = (
        w.make(one, Request::register(&with(true))),
        w.make(other, Request::register(&with(false))),
        w.make(other, Request::register(&with(true))),
    );
    w.expect_reply(first);
    let failure = w.expect_error(second, ErrorCode::NAME_TAKEN);
    assert!(failure.text.contains("register it with streams too"), "{}", failure.text);
    w.expect_reply(third);
}

#[test]
fn a_one_way_call_has_no_streams() {
    let mut w = World::new();
    let (svc, c) = (w.streamer("store", 8), w.peer(OWNER));
    let call = w.make(c, put().one_way());
    w.expect_safe(call, ErrorCode::INVALID);
    w.expect_no_call(svc);
}

#[test]
fn the_broker_itself_takes_no_streams() {
    let mut w = World::new();
    let c = w.peer(OWNER);
    let call = w.make(c, Request::to("ipc", "ping").download());
    w.expect_safe(call, ErrorCode::INVALID);
}

#[test]
fn a_datagram_has_no_streams() {
    let mut w = World::new();
    let (svc, c) = (w.streamer("store", 8), w.peer(OWNER));
    let call = Call {
        id: 1,
        one_way: false,
        streams: Streams { request: false, reply: true },
        encoding: Encoding::BYTES,
        timeout_ms: 0,
        caller: bytes::Bytes::new(),
        routing: Routing::to("store", "").build(),
        body: bytes::Bytes::new().into(),
    };
    w.send_datagram(OWNER, Some("there"), Message::Call(call));
    w.expect_no_call(svc);
    assert_eq!(w.stat(c, "datagrams_malformed"), 1);
}

#[test]
fn items_of_calls_that_were_never_delivered_cut_their_sender() {
    let mut w = World::with_limits(|limits| limits.stray_replies = 1);
    let svc = w.streamer("store", 8);
    let Scene { mut w, at_service, .. } = Scene::in_world_with(w, "other", get());
    let foreign = Delivered { to: svc, ..at_service };
    w.send_item_back(&foreign, b"whose?");
    w.expect_open(svc);
    w.send_item_back(&foreign, b"whose?");
    w.expect_cut(svc, "not delivered to this peer");
}

#[test]
fn a_broker_that_stops_ends_streams_with_their_counts() {
    let Scene { mut w, call, at_service, .. } = Scene::of(put());
    w.grant_back(&at_service, 9, 100);
    w.send_item(call, b"one");
    w.stop();
    assert_eq!(w.expect_error(call, ErrorCode::BROKER_LOST).delivered, Some(1));
}

/// The dialect grants items as long as they are read, which native peers do themselves.
#[test]
fn a_peer_in_json_rpc_that_has_finished_sending_receives_a_stream_to_its_end() {
    let mut w = World::new();
    w.mix();
    let [svc, _, c] = [w.streamer("store", 8), w.peer(OWNER), w.peer(OWNER)];
    assert!(w.speaks_json(c));
    let call = w.make(c, get());
    let at_service = w.next_call(svc);
    w.end_sending(c);
    (0..200).for_each(|_| w.send_item_back(&at_service, b"an item"));
    w.reply(&at_service, b"");
    w.expect_reply(call);
    assert_eq!(w.take_stream(c).len(), 200);
    w.end();
}

#[test]
fn a_stream_goes_on_after_a_handover() {
    let Scene { mut w, svc, call, at_service, .. } = Scene::of(put());
    w.grant_back(&at_service, 2, 100);
    w.send_item(call, b"before");
    w.hand_over();
    w.send_item(call, b"after");
    assert_eq!(w.take_stream(svc), ["before", "after"]);
    w.end();
}
