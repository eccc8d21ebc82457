//! Waiting for a name to be offered or to go.

use ipc_protocol::ErrorCode;

use crate::world::{OWNER, Request, World};

#[test]
fn a_wait_for_an_offered_name_is_answered_at_once() {
    let mut w = World::new();
    let (_svc, c) = (w.service("clock"), w.peer(OWNER));

    let wait = w.ipc(c, "wait", r#"{"name":"clock"}"#);

    assert_eq!(w.expect_reply(wait).body, &b"{}"[..]);
}

#[test]
fn a_wait_is_answered_when_the_name_is_offered() {
    let mut w = World::new();
    let c = w.peer(OWNER);
    let wait = w.ipc(c, "wait", r#"{"name":"clock"}"#);
    w.service("clocks");
    w.expect_no_end(wait);

    w.service("clock");

    w.expect_reply(wait);
}

#[test]
fn a_wait_is_answered_when_the_name_goes() {
    let mut w = World::new();
    let (one, two, c) = (w.instance("pool", 1), w.instance("pool", 1), w.peer(OWNER));
    let wait = w.ipc(c, "wait", r#"{"name":"pool","gone":true}"#);

    w.disconnect(one);
    w.expect_no_end(wait);
    w.unregister(two, Some("pool"));

    w.expect_reply(wait);
}

#[test]
fn a_wait_for_a_missing_name_to_go_is_answered_at_once() {
    let mut w = World::new();
    let c = w.peer(OWNER);

    let wait = w.ipc(c, "wait", r#"{"name":"clock","gone":true}"#);

    w.expect_reply(wait);
}

#[test]
fn a_wait_for_a_target_is_answered_when_its_service_is_offered() {
    let mut w = World::new();
    let c = w.peer(OWNER);
    let target = w.ipc(c, "wait", r#"{"name":"clock.now","target":true}"#);
    let name = w.ipc(c, "wait", r#"{"name":"clock.now"}"#);

    w.service("clock");

    w.expect_reply(target);
    w.expect_no_end(name);
}

#[test]
fn a_target_is_gone_when_neither_form_of_it_is_offered() {
    let mut w = World::new();
    let (short, long, c) = (w.service("clock"), w.service("clock.now"), w.peer(OWNER));
    let wait = w.ipc(c, "wait", r#"{"name":"clock.now","target":true,"gone":true}"#);

    w.disconnect(short);
    w.expect_no_end(wait);
    w.disconnect(long);

    w.expect_reply(wait);
}

#[test]
fn the_brokers_own_service_is_always_offered() {
    let mut w = World::new();
    let c = w.peer(OWNER);

    let name = w.ipc(c, "wait", r#"{"name":"ipc"}"#);
    let target = w.ipc(c, "wait", r#"{"name":"ipc.list","target":true}"#);

    w.expect_reply(name);
    w.expect_reply(target);
}

#[test]
fn a_wait_ends_at_its_deadline() {
    let mut w = World::new();
    let c = w.peer(OWNER);
    let body = br#"{"name":"clock"}"#;
    let wait = w.make(c, Request::to("ipc", "wait").body(body).within(100));

    w.advance(100);

    w.expect_safe(wait, ErrorCode::DEADLINE);
    w.service("clock");
    w.end();
}

#[test]
fn a_wait_is_cancelled_like_any_call() {
    let mut w = World::new();
    let c = w.peer(OWNER);
    let wait = w.ipc(c, "wait", r#"{"name":"clock"}"#);

    w.cancel(wait);

    w.expect_safe(wait, ErrorCode::CANCELLED);
    w.service("clock");
}

#[test]
fn a_wait_is_dropped_with_its_caller() {
    let mut w = World::new();
    let c = w.peer(OWNER);
    w.ipc(c, "wait", r#"{"name":"clock.now","target":true}"#);

    w.disconnect(c);

    w.service("clock");
    w.end();
}

#[test]
fn waits_count_among_the_calls_of_their_caller() {
    let mut w = World::with_limits(|limits| limits.calls_per_caller = 1);
    let c = w.peer(OWNER);
    w.ipc(c, "wait", r#"{"name":"one"}"#);

    let refused = w.ipc(c, "wait", r#"{"name":"two"}"#);

    w.expect_safe(refused, ErrorCode::BUSY);
}

#[test]
fn a_name_has_a_limited_number_of_waits() {
    let mut w = World::with_limits(|limits| limits.calls_per_service = 2);
    let c = w.peer(OWNER);
    let _waits = [(); 2].map(|()| w.ipc(c, "wait", r#"{"name":"clock"}"#));

    let refused = w.ipc(c, "wait", r#"{"name":"clock"}"#);

    w.expect_safe(refused, ErrorCode::BUSY);
}

#[test]
fn waits_for_targets_count_against_their_service() {
    let mut w = World::with_limits(|limits| limits.calls_per_service = 2);
    let c = w.peer(OWNER);
    let waits = ["clock.a", "clock.b"].map(|name| w.ipc(c, "wait", &format!(r#"{{"name":"{name}","target":true}}"#)));

    let refused = w.ipc(c, "wait", r#"{"name":"clock.c","target":true}"#);

    w.expect_safe(refused, ErrorCode::BUSY);
    w.service("clock");
    w.expect_reply(waits[0]);
    w.expect_reply(waits[1]);
}

#[test]
fn waits_are_charged_to_their_caller() {
    let mut w = World::with_limits(|limits| limits.bytes_per_uid = 2_000);
    let c = w.peer(OWNER);
    let waits = [(); 10].map(|()| w.ipc(c, "wait", r#"{"name":"clock"}"#));

    w.expect_no_end(waits[0]);
    w.expect_safe(waits[9], ErrorCode::BUSY);
    let held = w.bytes_held();
    w.disconnect(c);
    assert_eq!((held > 1_000, w.bytes_held()), (true, 0));
}

#[test]
fn a_one_way_wait_does_nothing() {
    let mut w = World::new();
    let c = w.peer(OWNER);

    w.make(c, Request::to("ipc", "wait").body(br#"{"name":"clock"}"#).one_way());

    assert!(w.is_drained());
}
