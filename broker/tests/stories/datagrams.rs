//! Calls by datagram.

use ipc_protocol::{ErrorCode, Message};

use crate::world::{OWNER, Request, World};

#[test]
fn a_datagram_is_answered_at_the_address_of_its_sender() {
    let mut w = World::new();
    let svc = w.service("clock");

    let call = w.datagram(OWNER, Some("00042"), Request::to("clock", "now"));
    w.reply_next(svc, b"12:00");

    assert_eq!(w.expect_reply(call).body, &b"12:00"[..]);
    assert!(matches!(w.answers(), [(address, Message::Reply(_))] if address == b"00042"));
}

#[test]
fn a_refusal_is_answered_too() {
    let mut w = World::new();

    let call = w.datagram(OWNER, Some("00042"), Request::to("nobody", ""));

    w.expect_safe(call, ErrorCode::NO_SERVICE);
}

#[test]
fn another_users_datagram_is_denied() {
    let mut w = World::new();
    let svc = w.service("clock");

    let call = w.datagram(1001, Some("00042"), Request::to("clock", ""));

    w.expect_safe(call, ErrorCode::DENIED);
    w.expect_no_call(svc);
}

#[test]
fn a_one_way_datagram_is_delivered_and_not_answered() {
    let mut w = World::new();
    let svc = w.service("log");

    let call = w.datagram(OWNER, Some("00042"), Request::to("log", "").one_way());
    w.reply_next(svc, b"");

    w.expect_no_end(call);
    assert!(w.answers().is_empty());
}

#[test]
fn a_refused_one_way_datagram_is_counted_and_not_answered() {
    let mut w = World::new();
    let c = w.peer(OWNER);

    let call = w.datagram(OWNER, Some("00042"), Request::to("nobody", "").one_way());

    w.expect_no_end(call);
    assert_eq!((w.stat(c, "datagrams"), w.stat(c, "datagrams_refused")), (1, 1));
}

#[test]
fn a_datagram_without_a_return_address_is_dropped_and_counted() {
    let mut w = World::new();
    let svc = w.service("clock");

    let call = w.datagram(OWNER, None, Request::to("clock", ""));

    w.expect_no_end(call);
    w.expect_no_call(svc);
    assert_eq!(w.stat(svc, "datagrams_malformed"), 1);
    w.forget(call);
    w.end();
}

#[test]
fn a_datagram_that_is_not_a_call_is_dropped_and_counted() {
    let mut w = World::new();
    let c = w.peer(OWNER);

    w.send_datagram(OWNER, Some("00042"), Message::Ping(1));

    assert!(w.answers().is_empty());
    assert_eq!(w.stat(c, "datagrams_malformed"), 1);
}

#[test]
fn a_datagram_with_a_forged_caller_is_dropped_and_counted() {
    let mut w = World::new();
    let svc = w.service("clock");
    w.call(svc, "clock", "", b"");
    let stamped = w.next_call(svc).call;

    w.send_datagram(OWNER, Some("00042"), Message::Call(stamped));

    w.expect_no_call(svc);
    assert_eq!(w.stat(svc, "datagrams_malformed"), 1);
}

#[test]
fn a_user_has_a_limited_number_of_datagrams_pending() {
    let mut w = World::with_limits(|limits| limits.calls_per_caller = 2);
    let svc = w.service("clock");
    let first = w.datagram(OWNER, Some("a"), Request::to("clock", ""));
    w.datagram(OWNER, Some("b"), Request::to("clock", ""));

    let refused = w.datagram(OWNER, Some("c"), Request::to("clock", ""));

    w.expect_safe(refused, ErrorCode::BUSY);
    w.reply_next(svc, b"");
    w.expect_reply(first);
    let next = w.datagram(OWNER, Some("c"), Request::to("clock", ""));
    w.expect_no_end(next);
}

#[test]
fn a_datagram_ends_at_its_deadline() {
    let mut w = World::new();
    let svc = w.service("clock");
    let call = w.datagram(OWNER, Some("a"), Request::to("clock", "").within(50));
    let delivered = w.next_call(svc);

    w.advance(50);

    w.expect_unknown(call, ErrorCode::DEADLINE);
    w.expect_cancel(&delivered, ErrorCode::DEADLINE);
}

#[test]
fn a_datagram_ends_with_its_service() {
    let mut w = World::new();
    let svc = w.service("clock");
    let call = w.datagram(OWNER, Some("a"), Request::to("clock", ""));

    w.disconnect(svc);

    w.expect_unknown(call, ErrorCode::SERVICE_GONE);
}

#[test]
fn an_answer_that_cannot_be_sent_is_counted() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    w.refuse_answers();
    w.datagram(OWNER, Some("full"), Request::to("clock", ""));

    w.reply_next(svc, b"");

    assert_eq!(w.stat(c, "datagram_answers_dropped"), 1);
}

#[test]
fn an_answer_too_long_for_a_datagram_becomes_too_large() {
    let mut w = World::new();
    let svc = w.service("clock");
    let call = w.datagram(OWNER, Some("a"), Request::to("clock", ""));

    w.reply_next(svc, &[0; 65_536]);

    w.expect_unknown(call, ErrorCode::TOO_LARGE);
}

#[test]
fn the_longest_answer_that_fits_a_datagram_passes() {
    let mut w = World::new();
    let svc = w.service("clock");
    let call = w.datagram(OWNER, Some("a"), Request::to("clock", ""));

    w.reply_next(svc, &[0; 65_536 - 32]);

    w.expect_reply(call);
}

#[test]
fn a_name_cannot_be_offered_by_datagram() {
    let mut w = World::new();

    let register = w.datagram(OWNER, Some("a"), Request::to("ipc", "register").body(br#"{"name":"clock"}"#));
    let unregister = w.datagram(OWNER, Some("a"), Request::to("ipc", "unregister"));

    w.expect_safe(register, ErrorCode::INVALID);
    w.expect_safe(unregister, ErrorCode::INVALID);
}

#[test]
fn the_broker_answers_its_own_operations_by_datagram() {
    let mut w = World::new();
    let _svc = w.service("clock");

    let list = w.datagram(OWNER, Some("a"), Request::to("ipc.list", ""));
    let wait = w.datagram(OWNER, Some("a"), Request::to("ipc", "wait").body(br#"{"name":"late"}"#));
    w.expect_no_end(wait);
    w.service("late");

    assert_eq!(w.expect_reply(list).body, &br#"{"names":["clock"]}"#[..]);
    w.expect_reply(wait);
}
