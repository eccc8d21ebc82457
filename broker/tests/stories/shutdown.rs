//! The end of the broker: it drains, and it stops.

use ipc_protocol::ErrorCode;

use crate::world::{OWNER, Request, World};

#[test]
fn a_draining_broker_takes_no_new_calls() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));

    w.drain();
    let call = w.call(c, "clock", "", b"");
    let registration = w.register(svc, Some("other"), 1);
    let wait = w.ipc(c, "wait", r#"{"name":"late"}"#);

    w.expect_safe(call, ErrorCode::UNAVAILABLE);
    w.expect_safe(registration, ErrorCode::UNAVAILABLE);
    w.expect_safe(wait, ErrorCode::UNAVAILABLE);
    assert_eq!(w.connect(OWNER).unwrap_err().code, ErrorCode::BUSY);
}

#[test]
fn a_draining_broker_lets_calls_finish() {
    let mut w = World::new();
    let (svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    let running = w.call(c, "clock", "", b"");
    let waiting = w.call(c, "clock", "", b"");

    w.drain();
    assert!(!w.is_drained());
    w.reply_next(svc, b"");
    w.reply_next(svc, b"");

    w.expect_reply(running);
    w.expect_reply(waiting);
    assert!(w.is_drained());
}

#[test]
fn a_draining_broker_ends_waits_for_names() {
    let mut w = World::new();
    let c = w.peer(OWNER);
    let wait = w.ipc(c, "wait", r#"{"name":"clock"}"#);

    w.drain();

    w.expect_safe(wait, ErrorCode::UNAVAILABLE);
    assert!(w.is_drained());
}

#[test]
fn a_draining_broker_does_not_wait_for_cancelled_calls() {
    let mut w = World::new();
    let (_svc, c) = (w.service("clock"), w.peer(OWNER));
    let call = w.call(c, "clock", "", b"");
    w.cancel(call);

    w.drain();

    assert!(w.is_drained());
}

#[test]
fn a_draining_broker_waits_until_answers_are_read() {
    let mut w = World::new();
    let (svc, slow) = (w.service("echo"), w.peer(OWNER));
    w.let_pile_up(slow, svc, 1_000);

    w.drain();
    assert!(!w.is_drained());
    w.resume_reading(slow);

    assert!(w.is_drained());
}

#[test]
fn a_draining_broker_still_answers_about_itself() {
    let mut w = World::new();
    let (_svc, c) = (w.service("clock"), w.peer(OWNER));

    w.drain();

    assert_eq!(w.stat(c, "names"), 1);
}

#[test]
fn a_stopping_broker_ends_every_call() {
    let mut w = World::new();
    let (svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    let running = w.call(c, "clock", "", b"");
    let waiting = w.call(c, "clock", "", b"");
    let watching = w.ipc(c, "wait", r#"{"name":"late"}"#);
    let by_datagram = w.datagram(OWNER, Some("a"), Request::to("clock", ""));

    w.stop();

    w.expect_unknown(running, ErrorCode::BROKER_LOST);
    w.expect_safe(waiting, ErrorCode::BROKER_LOST);
    w.expect_safe(watching, ErrorCode::BROKER_LOST);
    w.expect_safe(by_datagram, ErrorCode::BROKER_LOST);
    assert_eq!(w.goodbye(svc).code, ErrorCode::UNAVAILABLE);
    assert_eq!(w.goodbye(c).text, "the broker shuts down");
    w.end();
}
