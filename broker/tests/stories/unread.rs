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

/// A world where a user may hold 40,000 bytes.
fn narrow() -> World {
    World::with_limits(|limits| limits.bytes_per_uid = 40_000)
}

#[test]
fn what_lies_in_the_kernel_is_charged_until_it_is_read() {
    let mut w = narrow();
    let (slow, gone) = (w.peer(OWNER), w.peer(OWNER));
    let before = w.bytes_held();
    [slow, gone].iter().for_each(|peer| w.look(*peer, 5_000));
    assert_eq!(w.bytes_held(), before + 10_000);

    w.look(slow, 2_000);
    assert_eq!(w.bytes_held(), before + 7_000);
    w.look(slow, 0);
    w.disconnect(gone);
    assert!(w.bytes_held() < before);
}

#[test]
fn connections_that_leave_much_in_the_kernel_are_cut_when_the_quota_is_full() {
    let mut w = narrow();
    let (reader, stuck) = (w.peer(OWNER), [w.peer(OWNER), w.peer(OWNER), w.peer(OWNER)]);
    stuck.iter().for_each(|peer| w.pause_reading(*peer));
    stuck.iter().zip([9_000, 15_000, 9_000]).for_each(|(peer, bytes)| w.look(*peer, bytes));
    stuck.iter().zip([9_000, 15_000, 9_000]).for_each(|(peer, bytes)| w.look(*peer, bytes));
    w.look(reader, 8_000);
    stuck.iter().for_each(|peer| w.expect_open(*peer));

    w.look(stuck[0], 9_000);

    w.expect_cut(stuck[1], "15000 bytes wait to be read, while the quota of 40000 bytes is full");
    [reader, stuck[0], stuck[2]].iter().for_each(|peer| w.expect_open(*peer));
    assert!(w.bytes_held() <= 40_000);
}

#[test]
fn a_quota_that_is_full_of_what_the_kernel_holds_refuses_no_call_that_runs_at_once() {
    let mut w = narrow();
    let (svc, caller) = (w.service("clock"), w.peer(OWNER));
    let slow = [(); 6].map(|()| w.peer(OWNER));
    slow.iter().for_each(|peer| w.look(*peer, 9_000));

    let call = w.call(caller, "clock", "", b"");
    w.reply_next(svc, b"now");

    w.expect_reply(call);
    slow.iter().for_each(|peer| w.expect_open(*peer));
}

#[test]
fn a_full_quota_cuts_no_connection_that_may_be_reading() {
    let mut w = narrow();
    let peers = [(); 6].map(|()| w.peer(OWNER));
    peers.iter().for_each(|peer| w.look(*peer, 9_000));
    peers.iter().for_each(|peer| w.look(*peer, 9_000));
    peers.iter().for_each(|peer| w.expect_open(*peer));
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
