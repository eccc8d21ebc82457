//! Windows, queues and the choice among instances.

use ipc_protocol::ErrorCode;

use crate::world::{OWNER, Request, World};

#[test]
fn a_full_window_holds_further_calls_back() {
    let mut w = World::new();
    let (svc, c) = (w.worker("clock", 2), w.peer(OWNER));

    w.call_each(c, "clock", ["1", "2", "3"]);

    assert_eq!(w.take_bodies(svc), ["1", "2"]);
}

#[test]
fn an_answer_makes_room_for_the_next_call() {
    let mut w = World::new();
    let (svc, c) = (w.worker("clock", 2), w.peer(OWNER));
    w.call_each(c, "clock", ["1", "2", "3", "4"]);

    w.reply_next(svc, b"");

    assert_eq!(w.take_bodies(svc), ["2", "3"]);
}

#[test]
fn an_error_makes_room_for_the_next_call() {
    let mut w = World::new();
    let (svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    w.call_each(c, "clock", ["1", "2"]);
    let delivered = w.next_call(svc);

    w.fail(&delivered, ErrorCode::APP_ERROR);

    assert_eq!(w.take_bodies(svc), ["2"]);
}

#[test]
fn calls_of_several_senders_share_one_queue() {
    let mut w = World::new();
    let (svc, a, b) = (w.worker("clock", 1), w.peer(OWNER), w.peer(OWNER));
    w.call(a, "clock", "", b"1");
    w.call(b, "clock", "", b"2");
    w.call(a, "clock", "", b"3");
    w.call(b, "clock", "", b"4");

    assert_eq!(w.answer_each(svc), ["1", "2", "3", "4"]);
}

#[test]
fn a_call_does_not_overtake_queued_ones() {
    let mut w = World::new();
    let (one, c) = (w.instance("pool", 1), w.peer(OWNER));
    w.call_each(c, "pool", ["1", "2", "3"]);

    let two = w.instance("pool", 1);
    w.call(c, "pool", "", b"4");

    assert_eq!(w.take_bodies(one), ["1"]);
    assert_eq!(w.take_bodies(two), ["2"]);
}

#[test]
fn a_new_instance_takes_queued_calls() {
    let mut w = World::new();
    let (_one, c) = (w.instance("pool", 1), w.peer(OWNER));
    w.call_each(c, "pool", ["1", "2", "3", "4"]);

    let two = w.instance("pool", 2);

    assert_eq!(w.take_bodies(two), ["2", "3"]);
}

#[test]
fn a_call_goes_to_the_least_busy_instance() {
    let mut w = World::new();
    let (one, two, c) = (w.instance("pool", 8), w.instance("pool", 8), w.peer(OWNER));
    let address = w.address(one);
    w.call_each(c, &address, ["a", "b"]);

    w.call_each(c, "pool", ["1", "2"]);

    assert_eq!(w.take_bodies(two), ["1", "2"]);
}

#[test]
fn instances_with_equal_loads_take_turns() {
    let mut w = World::new();
    let (one, two, three) = (w.instance("pool", 8), w.instance("pool", 8), w.instance("pool", 8));
    let c = w.peer(OWNER);

    let turns = [one, two, three, one].map(|expected| {
        let call = w.call(c, "pool", "", b"");
        w.reply_next(expected, b"");
        w.expect_reply(call);
    });

    assert_eq!(turns.len(), 4);
}

#[test]
fn a_full_instance_is_skipped() {
    let mut w = World::new();
    let (small, large, c) = (w.instance("pool", 1), w.instance("pool", 8), w.peer(OWNER));
    let address = w.address(large);
    w.call_each(c, &address, ["a", "b"]);

    w.call_each(c, "pool", ["1", "2"]);

    assert_eq!(w.take_bodies(small), ["1"]);
    assert_eq!(w.take_bodies(large), ["a", "b", "2"]);
}

#[test]
fn a_window_of_zero_is_refused() {
    let mut w = World::new();
    let svc = w.peer(OWNER);

    let refused = w.register(svc, Some("clock"), 0);

    w.expect_safe(refused, ErrorCode::INVALID);
}

#[test]
fn a_caller_has_a_limited_number_of_pending_calls() {
    let mut w = World::with_limits(|limits| limits.calls_per_caller = 2);
    let (svc, c, other) = (w.worker("clock", 1), w.peer(OWNER), w.peer(OWNER));
    let first = w.call(c, "clock", "", b"");
    w.call(c, "clock", "", b"");

    let refused = w.call(c, "clock", "", b"");

    w.expect_safe(refused, ErrorCode::BUSY);
    let of_other = w.call(other, "clock", "", b"");
    w.expect_no_end(of_other);
    w.reply_next(svc, b"");
    w.expect_reply(first);
    let next = w.call(c, "clock", "", b"");
    w.expect_no_end(next);
}

#[test]
fn a_service_has_a_limited_number_of_pending_calls() {
    let mut w = World::with_limits(|limits| limits.calls_per_service = 3);
    let (svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    let _calls = [(); 3].map(|()| w.call(c, "clock", "", b""));

    let refused = w.call(c, "clock", "", b"");
    let refused_too = w.make(c, Request::to("clock", "").one_way());

    assert_eq!(w.expect_error(refused, ErrorCode::BUSY).text, "'clock' has 3 calls already, its limit");
    w.expect_safe(refused_too, ErrorCode::BUSY);
    w.reply_next(svc, b"");
    let next = w.call(c, "clock", "", b"");
    w.expect_no_end(next);
}

#[test]
fn cancelled_calls_count_against_a_service_until_it_answers() {
    let mut w = World::with_limits(|limits| limits.calls_per_service = 2);
    let (_svc, c) = (w.worker("clock", 100), w.peer(OWNER));
    let calls = [(); 2].map(|()| w.call(c, "clock", "", b""));
    calls.iter().for_each(|call| w.cancel(*call));

    let refused = w.call(c, "clock", "", b"");

    w.expect_safe(refused, ErrorCode::BUSY);
}

#[test]
fn a_peer_has_a_limited_number_of_direct_calls() {
    let mut w = World::with_limits(|limits| limits.calls_per_service = 2);
    let (svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    let address = w.address(svc);
    let _calls = [(); 2].map(|()| w.call(c, &address, "", b""));

    let refused = w.call(c, &address, "", b"");

    w.expect_safe(refused, ErrorCode::BUSY);
}

#[test]
fn the_broker_holds_a_limited_number_of_bytes() {
    let mut w = World::with_limits(|limits| limits.bytes_total = 4_000);
    let (_svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    let _calls = [(); 3].map(|()| w.call(c, "clock", "", &[0; 1_000]));

    let refused = w.call(c, "clock", "", &[0; 1_000]);

    w.expect_safe(refused, ErrorCode::BUSY);
}

#[test]
fn a_service_that_does_not_read_gets_no_more_calls_until_it_does() {
    let mut w = World::with_limits(|limits| limits.unread_soft_bytes = 1_000);
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    w.pause_reading(svc);
    let calls = [b'1', b'2', b'3'].map(|body| w.call(c, "clock", "", &[body; 600]));

    let delivered = calls.map(|call| w.was_delivered(call));
    w.resume_reading(svc);

    assert_eq!(delivered, [true, true, false]);
    assert_eq!(w.take_bodies(svc).len(), 3);
}

#[test]
fn an_instance_that_does_not_read_is_skipped() {
    let mut w = World::with_limits(|limits| limits.unread_soft_bytes = 500);
    let (stopped, other, c) = (w.instance("pool", 8), w.instance("pool", 8), w.peer(OWNER));
    w.pause_reading(stopped);
    let _calls = [(); 4].map(|()| w.call(c, "pool", "", &[b'x'; 600]));

    assert_eq!(w.take_bodies(other).len(), 3);
}
