//! Targets: which service and method each one names.

use ipc_protocol::ErrorCode;

use crate::world::{OWNER, World};

#[test]
fn a_whole_name_takes_precedence_over_a_split_one() {
    let mut w = World::new();
    let (short, long, c) = (w.service("a.b"), w.service("a.b.c"), w.peer(OWNER));

    w.call(c, "a.b.c", "", b"");

    let delivered = w.next_call(long);
    assert_eq!((delivered.service(), delivered.method()), ("a.b.c", ""));
    w.expect_no_call(short);
}

#[test]
fn a_target_is_split_at_its_last_label() {
    let mut w = World::new();
    let (svc, c) = (w.service("a.b"), w.peer(OWNER));

    w.call(c, "a.b.c", "", b"");

    let delivered = w.next_call(svc);
    assert_eq!((delivered.service(), delivered.method()), ("a.b", "c"));
}

#[test]
fn a_target_is_split_only_once() {
    let mut w = World::new();
    let (svc, c) = (w.service("a"), w.peer(OWNER));

    let call = w.call(c, "a.b.c", "", b"");

    w.expect_safe(call, ErrorCode::NO_SERVICE);
    w.expect_no_call(svc);
}

#[test]
fn a_target_with_a_method_is_not_split() {
    let mut w = World::new();
    let (_svc, c) = (w.service("a"), w.peer(OWNER));

    let call = w.call(c, "a.b", "c", b"");

    w.expect_safe(call, ErrorCode::NO_SERVICE);
}

#[test]
fn a_name_alone_calls_the_default_method() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));

    w.call(c, "clock", "", b"");

    assert_eq!(w.next_call(svc).method(), "");
}

#[test]
fn the_brokers_operations_are_targets() {
    let mut w = World::new();
    let c = w.peer(OWNER);

    let split = w.call(c, "ipc.list", "", b"");
    let default = w.call(c, "ipc", "", b"");

    assert_eq!(w.expect_reply(split).body, &br#"{"names":[]}"#[..]);
    assert_eq!(w.expect_reply(default).body, &b"{}"[..]);
}

#[test]
fn a_call_to_a_name_without_a_service_has_not_run() {
    let mut w = World::new();
    let c = w.peer(OWNER);

    let call = w.call(c, "nobody", "now", b"");

    let failure = w.expect_error(call, ErrorCode::NO_SERVICE);
    assert_eq!(failure.text, "no process offers 'nobody'");
    w.expect_safe(call, ErrorCode::NO_SERVICE);
}

#[test]
fn an_unknown_operation_of_the_broker_is_refused() {
    let mut w = World::new();
    let c = w.peer(OWNER);

    let call = w.ipc(c, "fly", "");

    w.expect_safe(call, ErrorCode::NO_METHOD);
}
