//! Who may do what without a policy file: root and the broker's own user everything, others nothing.

use ipc_protocol::ErrorCode;

use crate::world::{OWNER, Request, World};

#[test]
fn another_user_may_not_call() {
    let mut w = World::new();
    let (svc, stranger) = (w.service("clock"), w.peer(1001));

    let call = w.call(stranger, "clock", "now", b"");
    let one_way = w.make(stranger, Request::to("clock", "now").one_way());

    let failure = w.expect_error(call, ErrorCode::DENIED);
    assert_eq!(failure.text, "user 1001 may not use this broker: only its own user and root may");
    w.expect_safe(one_way, ErrorCode::DENIED);
    w.expect_no_call(svc);
    w.expect_open(stranger);
}

#[test]
fn another_user_may_not_call_a_peer_directly() {
    let mut w = World::new();
    let (svc, stranger) = (w.service("clock"), w.peer(1001));

    let call = w.call(stranger, &w.address(svc), "", b"");

    w.expect_safe(call, ErrorCode::DENIED);
}

#[test]
fn another_user_learns_nothing_about_the_broker() {
    let mut w = World::new();
    let (_svc, stranger) = (w.service("clock"), w.peer(1001));

    let list = w.ipc(stranger, "list", "");
    let wait = w.ipc(stranger, "wait", r#"{"name":"clock"}"#);
    let missing = w.call(stranger, "nobody", "", b"");

    w.expect_safe(list, ErrorCode::DENIED);
    w.expect_safe(wait, ErrorCode::DENIED);
    w.expect_safe(missing, ErrorCode::DENIED);
}

#[test]
fn another_user_does_not_learn_what_is_wrong_with_a_name() {
    let mut w = World::new();
    let (stranger, own) = (w.peer(1001), w.peer(OWNER));

    let denied = w.make_misnamed(stranger);
    let invalid = w.make_misnamed(own);

    w.expect_safe(denied, ErrorCode::DENIED);
    w.expect_safe(invalid, ErrorCode::INVALID);
    w.expect_open(own);
}

#[test]
fn another_user_may_not_offer_a_name() {
    let mut w = World::new();
    let stranger = w.peer(1001);

    let named = w.register(stranger, Some("clock"), 1);
    let anonymous = w.register(stranger, None, 1);

    w.expect_safe(named, ErrorCode::DENIED);
    w.expect_safe(anonymous, ErrorCode::DENIED);
}

#[test]
fn root_may_do_what_the_owner_may() {
    let mut w = World::new();
    let (svc, root) = (w.service("clock"), w.peer(0));

    w.offer(root, Some("root"), 1);
    let call = w.call(root, "clock", "", b"");
    w.reply_next(svc, b"");

    w.expect_reply(call);
}

#[test]
fn a_denial_is_logged_with_what_was_attempted() {
    let mut w = World::new();
    let stranger = w.peer(1001);

    w.call(stranger, "clock", "now", b"");

    w.expect_logged(r#"event=denied peer=@1 uid=1001 pid=4000 operation="call clock.now" rule=default"#);
}
