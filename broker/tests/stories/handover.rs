//! The router's state, serialised while calls are under way and taken over by another process.

use ipc_protocol::{ErrorCode, Message, Retry};

use crate::world::{OWNER, Request, World};

#[test]
fn running_and_queued_calls_and_watches_survive() {
    let mut w = World::new();
    let (svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    let running = w.call(c, "clock", "now", b"1");
    let waiting = w.call(c, "clock", "now", &[0, 255, 10]);
    let watching = w.ipc(c, "wait", r#"{"name":"late.x","target":true}"#);

    w.hand_over();

    w.reply_next(svc, b"one");
    w.reply_next(svc, b"two");
    w.service("late");
    assert_eq!(w.expect_reply(running).body, &b"one"[..]);
    assert_eq!(w.expect_reply(waiting).body, &b"two"[..]);
    w.expect_reply(watching);
    w.end();
}

#[test]
fn deadlines_survive() {
    let mut w = World::new();
    let (svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    let running = w.make(c, Request::to("clock", "").within(100));
    let waiting = w.make(c, Request::to("clock", "").within(5_000));
    let delivered = w.next_call(svc);
    w.advance(50);

    w.hand_over();

    w.advance(49);
    w.expect_no_end(running);
    w.advance(1);
    w.expect_unknown(running, ErrorCode::DEADLINE);
    w.expect_cancel(&delivered, ErrorCode::DEADLINE);
    w.advance(4_899);
    w.expect_no_end(waiting);
    w.advance(1);
    w.expect_safe(waiting, ErrorCode::DEADLINE);
    w.end();
}

#[test]
fn connections_names_and_numbers_survive() {
    let mut w = World::new();
    let (svc, c, silent) = (w.service("clock"), w.peer(OWNER), w.stranger(OWNER));
    let gone = w.peer(OWNER);
    w.disconnect(gone);

    w.hand_over();

    let refused = w.register(c, Some("clock"), 1);
    assert_eq!(w.expect_error(refused, ErrorCode::NAME_TAKEN).retry, Retry::Safe);
    let new = w.peer(OWNER);
    assert_eq!(w.number(new), 5);
    w.advance(5_000);
    w.expect_cut(silent, "hello did not come");
    w.expect_open(svc);
}

#[test]
fn unread_bytes_stay_charged() {
    let mut w = World::with_limits(|limits| limits.unread_soft_bytes = 1_000);
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    let held = w.bytes_held();
    w.pause_reading(svc);
    w.call(c, "clock", "", &[b'1'; 1_000]);
    w.call(c, "clock", "", b"2");

    w.hand_over();

    w.expect_no_call(svc);
    w.resume_reading(svc);
    [b"1", b"2"].iter().for_each(|body| w.reply_next(svc, *body));
    assert_eq!(w.bytes_held(), held);
}

#[test]
fn a_pending_datagram_is_answered() {
    let mut w = World::new();
    let svc = w.service("clock");
    let call = w.datagram(OWNER, Some("00042"), Request::to("clock", ""));

    w.hand_over();

    w.reply_next(svc, b"12:00");
    w.expect_reply(call);
    assert!(matches!(w.answers(), [(address, Message::Reply(_))] if address == b"00042"));
}

#[test]
fn everything_that_connections_hold_survives() {
    let mut w = World::with_limits(|limits| limits.bytes_per_uid = 40_000);
    let (store, clock) = (w.service("store"), w.worker("clock", 1));
    let (half, parked, slow, c) = (w.peer(OWNER), w.peer(OWNER), w.peer(OWNER), w.peer(OWNER));
    let put = |len: usize| Request::to("store", "put").body(&vec![b'x'; len]);
    // running and queued calls, one of them with a descriptor, and one that has only begun to arrive
    let running = w.call(slow, "clock", "now", b"");
    let queued = w.make_with_fd(slow, Request::to("clock", "now"));
    let begun = w.make_cut(c, Request::to("clock", "now"), 20);
    // a full outlet whose first item is partly written
    let echo = w.service("echo");
    w.let_pile_up(slow, echo, 3_000);
    w.read_a_little(slow, 100);
    // a frame being assembled, and one that waits for room
    let assembled = w.make_cut(half, put(24_000), 9_000);
    let waiting = w.make_cut(parked, put(9_000), 4_500);
    assert!(w.is_parked(parked));

    w.hand_over();

    w.send_rest(half);
    assert!(!w.is_parked(parked), "room came back after the thaw");
    w.send_rest(parked);
    w.send_rest(c);
    [b"a", b"b"].iter().for_each(|body| w.reply_next(store, *body));
    [b"1", b"2", b"3"].iter().for_each(|body| w.reply_next(clock, *body));
    w.resume_reading(slow);
    [assembled, waiting, begun, running, queued].iter().for_each(|call| drop(w.expect_reply(*call)));
    w.end();
}
