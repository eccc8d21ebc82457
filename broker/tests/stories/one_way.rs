//! Calls that want no answer.

use ipc_protocol::ErrorCode;

use crate::world::{OWNER, Request, World};

#[test]
fn a_one_way_call_is_delivered_and_not_answered() {
    let mut w = World::new();
    let (svc, c) = (w.service("log"), w.peer(OWNER));
    let call = w.make(c, Request::to("log", "line").body(b"hello").one_way());

    let delivered = w.next_call(svc);
    w.reply(&delivered, b"done");

    assert!(delivered.call.one_way);
    w.expect_no_end(call);
}

#[test]
fn an_error_of_a_one_way_call_is_dropped() {
    let mut w = World::new();
    let (svc, c) = (w.service("log"), w.peer(OWNER));
    let call = w.make(c, Request::to("log", "line").one_way());
    let delivered = w.next_call(svc);

    w.fail(&delivered, ErrorCode::APP_ERROR);

    w.expect_no_end(call);
}

#[test]
fn the_answer_to_a_one_way_call_frees_its_place_in_the_window() {
    let mut w = World::new();
    let (svc, c) = (w.worker("log", 1), w.peer(OWNER));
    w.make(c, Request::to("log", "").body(b"1").one_way());
    w.make(c, Request::to("log", "").body(b"2").one_way());

    w.reply_next(svc, b"");

    assert_eq!(w.take_bodies(svc), ["2"]);
}

#[test]
fn a_refused_one_way_call_is_answered() {
    let mut w = World::new();
    let c = w.peer(OWNER);

    let call = w.make(c, Request::to("nobody", "").one_way());

    w.expect_safe(call, ErrorCode::NO_SERVICE);
}

#[test]
fn a_one_way_call_over_the_limit_is_answered() {
    let mut w = World::new();
    let c = w.peer(OWNER);

    let call = w.make_too_large(c, Request::to("log", "").one_way(), 1 << 21);

    w.expect_safe(call, ErrorCode::TOO_LARGE);
}

#[test]
fn a_one_way_call_outlives_its_caller() {
    let mut w = World::new();
    let (svc, c, other) = (w.worker("log", 1), w.peer(OWNER), w.peer(OWNER));
    w.call(other, "log", "", b"first");
    w.make(c, Request::to("log", "").body(b"last words").one_way());

    w.disconnect(c);
    w.reply_next(svc, b"");

    assert_eq!(w.take_bodies(svc), ["last words"]);
    w.end();
}

#[test]
fn a_one_way_call_has_a_deadline_too() {
    let mut w = World::new();
    let (svc, c) = (w.worker("log", 1), w.peer(OWNER));
    w.make(c, Request::to("log", "").within(50).one_way());
    let delivered = w.next_call(svc);
    let waiting = w.make(c, Request::to("log", "").within(50).one_way());

    w.advance(50);

    w.expect_cancel(&delivered, ErrorCode::DEADLINE);
    w.expect_no_end(waiting);
    w.reply(&delivered, b"");
    w.expect_no_call(svc);
}

#[test]
fn one_way_calls_of_one_user_leave_room_for_others() {
    let mut w = World::with_limits(|limits| limits.calls_per_caller = 3);
    let (svc, flooder, again, c) = (w.worker("log", 1), w.peer(OWNER), w.peer(OWNER), w.peer(0));
    let _calls = [(); 3].map(|()| w.make(flooder, Request::to("log", "").one_way()));

    let more = w.make(flooder, Request::to("log", "").one_way());
    let of_a_new_connection = w.make(again, Request::to("log", "").one_way());
    let by_datagram = w.datagram(OWNER, Some("there"), Request::to("log", ""));
    let of_another_user = w.call(c, "log", "", b"");

    w.expect_safe(more, ErrorCode::BUSY);
    w.expect_safe(of_a_new_connection, ErrorCode::BUSY);
    w.expect_safe(by_datagram, ErrorCode::BUSY);
    assert_eq!(w.limit(c, "calls_per_caller").used, Some(3));
    (0..4).for_each(|_| w.reply_next(svc, b""));
    w.expect_reply(of_another_user);
}
