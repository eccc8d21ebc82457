//! Calls to one peer, `@N`.

use ipc_protocol::ErrorCode;

use crate::world::{OWNER, World};

#[test]
fn a_direct_call_passes_by_a_name_that_was_taken_back() {
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
fn a_peer_that_took_everything_back_takes_no_direct_calls() {
    let mut w = World::new();
    let (svc, c) = (w.service("old"), w.peer(OWNER));
    w.call(c, "old", "", b"still running");
    w.unregister(svc, Some("old"));

    let call = w.call(c, &w.address(svc), "now", b"direct");

    w.expect_safe(call, ErrorCode::NO_SERVICE);
}
