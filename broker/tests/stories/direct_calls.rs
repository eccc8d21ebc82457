//! Calls to one peer, `@N`.

use ipc_protocol::ErrorCode;

use crate::world::{OWNER, World};

#[test]
fn a_direct_call_does_not_need_a_name_that_was_taken_back() {
    let mut w = World::new();
    let (svc, c) = (w.service("old"), w.peer(OWNER));
    w.offer(svc, Some("new"), 1);
    w.call(c, "old", "", b"still running");
    w.unregister(svc, Some("old"));

    let call = w.call(c, &w.address(svc), "now", b"direct");

    assert_eq!(w.take_bodies(svc), ["still running", "direct"]);
    w.expect_no_end(call);
}

#[test]
fn a_peer_that_took_every_registration_back_takes_no_direct_calls() {
    let mut w = World::new();
    let (svc, c) = (w.service("old"), w.peer(OWNER));
    w.call(c, "old", "", b"still running");
    w.unregister(svc, Some("old"));

    let call = w.call(c, &w.address(svc), "now", b"direct");

    w.expect_safe(call, ErrorCode::NO_SERVICE);
}

#[test]
fn a_direct_call_reaches_only_its_peer() {
    let mut w = World::new();
    let (one, two, c) = (w.instance("pool", 4), w.instance("pool", 4), w.peer(OWNER));

    let call = w.call(c, &w.address(two), "now", b"direct");

    let delivered = w.next_call(two);
    assert_eq!((delivered.service(), delivered.method()), (&*w.address(two), "now"));
    w.expect_no_call(one);
    w.reply(&delivered, b"");
    w.expect_reply(call);
}

#[test]
fn a_peer_without_a_name_takes_direct_calls() {
    let mut w = World::new();
    let (svc, c) = (w.peer(OWNER), w.peer(OWNER));
    w.offer(svc, None, 1);

    w.call(c, &w.address(svc), "", b"direct");

    assert_eq!(w.take_bodies(svc), ["direct"]);
}

#[test]
fn a_peer_that_offers_nothing_takes_no_direct_calls() {
    let mut w = World::new();
    let (other, c) = (w.peer(OWNER), w.peer(OWNER));

    let call = w.call(c, &w.address(other), "", b"");

    w.expect_safe(call, ErrorCode::NO_SERVICE);
}

#[test]
fn a_peer_that_is_not_there_takes_no_direct_calls() {
    let mut w = World::new();
    let c = w.peer(OWNER);

    let call = w.call(c, "@4711", "", b"");

    let failure = w.expect_error(call, ErrorCode::NO_SERVICE);
    assert_eq!(failure.text, "there is no peer @4711 that takes calls");
}

#[test]
fn direct_calls_queue_in_order_with_calls_to_the_name() {
    let mut w = World::new();
    let (svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    w.call(c, "clock", "", b"1");
    w.call(c, &w.address(svc), "", b"2");
    w.call(c, "clock", "", b"3");
    w.call(c, &w.address(svc), "", b"4");

    assert_eq!(w.answer_each(svc), ["1", "2", "3", "4"]);
}

#[test]
fn a_queued_direct_call_ends_with_its_peer() {
    let mut w = World::new();
    let (one, _two, c) = (w.instance("pool", 1), w.instance("pool", 1), w.peer(OWNER));
    let address = w.address(one);
    w.call(c, &address, "", b"runs");
    let waiting = w.call(c, &address, "", b"waits");

    w.disconnect(one);

    w.expect_safe(waiting, ErrorCode::SERVICE_GONE);
}
