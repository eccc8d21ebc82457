//! Peers that ask for more than they read.

use ipc_protocol::control::Peers;

use crate::world::{OWNER, Peer, Request, World};

/// A world in which a peer may have 100,000 bytes unread before it is heard no further, with a peer that reads nothing.
fn world_with_deaf_peer() -> (World, Peer) {
    let mut w = World::with_limits(|limits| limits.unread_soft_bytes = 100_000);
    let deaf = w.peer(OWNER);
    w.pause_reading(deaf);
    (w, deaf)
}

fn ask_for_peers() -> Request {
    Request::ipc("peers", &Peers::default())
}

#[test]
fn a_peer_that_reads_no_answers_is_heard_no_further_and_then_served_completely() {
    let (mut w, deaf) = world_with_deaf_peer();
    (0..500).for_each(|_| _ = w.peer(OWNER));

    let calls: Vec<_> = (0..200).map(|_| w.make(deaf, ask_for_peers())).collect();
    assert!(w.unread(deaf) < 100_000 + 64 * 1024, "{} bytes", w.unread(deaf));

    w.resume_reading(deaf);
    calls.into_iter().for_each(|call| _ = w.expect_reply(call));
}

#[test]
fn what_waits_at_a_peer_that_reads_nothing_is_charged_until_it_leaves() {
    let (mut w, deaf) = world_with_deaf_peer();
    (0..100).for_each(|_| _ = w.peer(OWNER));
    let before = w.bytes_held();
    (0..50).for_each(|_| _ = w.make(deaf, ask_for_peers()));
    let held = w.bytes_held();
    w.disconnect(deaf);
    assert!(held > before + 100_000, "{held}");
    assert!(w.bytes_held() <= before, "{}", w.bytes_held());
}

#[test]
fn a_service_with_unread_calls_may_go_on_answering() {
    let mut w = World::with_limits(|limits| limits.unread_soft_bytes = 10_000);
    let (svc, c) = (w.worker("clock", 8), w.peer(OWNER));
    let first = w.call(c, "clock", "", b"");
    let delivered = w.next_call(svc);
    w.pause_reading(svc);
    let second = w.call(c, "clock", "", &[7; 20_000]);

    w.reply(&delivered, b"noon");

    w.expect_reply(first);
    w.expect_no_end(second);
}

#[test]
fn a_peer_that_never_reads_while_it_finishes_a_frame_is_cut_for_not_reading() {
    let (mut w, deaf) = world_with_deaf_peer();
    let svc = w.service("clock");
    w.call(deaf, "clock", "", b"");
    w.make_cut(deaf, Request::to("clock", ""), 40);
    let delivered = w.next_call(svc);
    w.reply(&delivered, &[7; 200_000]);
    w.send_rest(deaf);

    w.advance(10_001);

    w.expect_cut(deaf, "bytes wait to be read");
}

#[test]
fn the_time_of_a_call_begins_once_everything_before_it_is_handled() {
    let (mut w, deaf) = world_with_deaf_peer();
    let svc = w.service("clock");
    w.call(deaf, "clock", "", b"");
    let delivered = w.next_call(svc);
    w.make_cut(deaf, Request::to("clock", "").within(50), 40);
    w.reply(&delivered, &[7; 200_000]);
    w.send_rest_and_make(deaf, Request::to("clock", "").within(50), usize::MAX);

    w.advance(40);
    w.resume_reading(deaf);

    let left = [w.next_call(svc), w.next_call(svc)].map(|delivered| delivered.call.timeout_ms);
    assert_eq!(left, [10, 50]);
}
