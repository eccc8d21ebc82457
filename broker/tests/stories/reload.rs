//! Limits that change while calls are under way.

use ipc_protocol::ErrorCode;

use crate::world::{OWNER, World};

#[test]
fn calls_that_waited_for_the_old_limit_are_delivered_under_the_new_one() {
    let mut w = World::with_limits(|limits| limits.unread_soft_bytes = 1_000);
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    w.pause_reading(svc);
    w.call(c, "clock", "", &[b'x'; 1_000]);
    w.call(c, "clock", "", b"waits");

    w.set_limits(|limits| limits.unread_soft_bytes = 100_000);
    w.resume_reading(svc);

    assert_eq!(w.take_bodies(svc).len(), 2);
}

#[test]
fn a_lower_limit_cuts_no_peer_and_refuses_new_calls() {
    let mut w = World::new();
    let (svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    let running = w.call(c, "clock", "", b"");
    let queued = w.call(c, "clock", "", b"");

    w.set_limits(|limits| limits.calls_per_caller = 1);
    let refused = w.call(c, "clock", "", b"");

    w.expect_safe(refused, ErrorCode::BUSY);
    w.reply_next(svc, b"1");
    w.reply_next(svc, b"2");
    w.expect_reply(running);
    w.expect_reply(queued);
}
