//! Byte quotas: who is charged, who is refused, who is cut.

use ipc_protocol::{ErrorCode, control::Empty, control::Stats};

use crate::world::{OWNER, Peer, Request, World};

/// A world where the user may hold 40,000 bytes, with a service that has one call and takes no second.
fn narrow() -> (World, Peer, Peer) {
    let mut w = World::with_limits(|limits| limits.bytes_per_uid = 40_000);
    let (svc, c) = (w.worker("slow", 1), w.peer(OWNER));
    w.call(c, "slow", "", b"");
    (w, svc, c)
}

#[test]
fn calls_are_refused_at_three_quarters_of_the_quota() {
    let (mut w, _, c) = narrow();

    let calls = [(); 20].map(|()| w.call(c, "slow", "", &[b'x'; 2_000]));

    assert!(w.bytes_held() <= 30_000);
    w.expect_no_end(calls[10]);
    w.expect_safe(calls[19], ErrorCode::BUSY);
}

#[test]
fn a_connection_that_fills_the_quota_leaves_room_for_the_first_calls_of_others() {
    let (mut w, svc, greedy) = narrow();
    let modest = w.peer(OWNER);
    let calls = [(); 20].map(|()| w.call(greedy, "slow", "", &[b'x'; 2_000]));
    w.expect_safe(calls[19], ErrorCode::BUSY);

    let first = w.call(modest, "slow", "", &[b'x'; 2_000]);

    w.expect_no_end(first);
    w.offer(modest, Some("modest"), 1);
    w.expect_open(svc);
}

#[test]
fn queued_calls_that_fill_the_quota_cut_no_peer() {
    let (mut w, svc, c) = narrow();
    let bystander = w.peer(OWNER);
    let _calls = [(); 20].map(|()| w.call(c, "slow", "", &[b'x'; 2_000]));

    let _: Stats = w.ask(bystander, "stats", &Empty {});

    w.expect_open(bystander);
    w.expect_open(c);
    w.expect_open(svc);
}

#[test]
fn an_answer_is_assembled_though_queued_calls_fill_the_quota() {
    let (mut w, svc, c) = narrow();
    let _calls = [(); 20].map(|()| w.call(c, "slow", "", &[b'x'; 2_000]));

    let delivered = w.next_call(svc);
    w.reply_cut(&delivered, &[b'y'; 4_500], 100);

    assert!(!w.is_parked(svc), "the calls wait for the answer, and the answer for the calls");
}

#[test]
fn incomplete_frames_leave_room_for_answers() {
    let (mut w, svc, _) = narrow();
    let peers = [(); 8].map(|()| w.peer(OWNER));

    let _calls = peers.map(|peer| w.make_cut(peer, Request::to("slow", "").body(&[b'x'; 6_000]), 100));
    let _: Stats = w.ask(svc, "stats", &Empty {});

    assert!(!w.is_parked(peers[4]) && w.is_parked(peers[5]));
    peers.iter().for_each(|peer| w.expect_open(*peer));
    w.expect_open(svc);
}

#[test]
fn a_full_quota_cuts_the_peer_that_holds_most_and_not_the_one_that_filled_it() {
    let mut w = World::with_limits(|limits| limits.bytes_per_uid = 20_000);
    let (svc, hog, idle, c) = (w.service("echo"), w.peer(OWNER), w.peer(OWNER), w.peer(OWNER));
    w.let_pile_up(hog, svc, 12_000);
    w.let_pile_up(idle, svc, 7_000);

    let call = w.call(c, "echo", "", b"");
    w.reply_next(svc, &[b'x'; 5_000]);

    w.expect_reply(call);
    w.expect_cut(hog, "bytes wait to be read");
    w.expect_open(idle);
    w.expect_open(c);
    w.expect_open(svc);
}

#[test]
fn many_messages_that_do_not_fit_cut_a_single_peer() {
    let mut w = World::with_limits(|limits| limits.bytes_per_uid = 20_000);
    let (svc, hog, idle, c) = (w.service("echo"), w.peer(OWNER), w.peer(OWNER), w.peer(OWNER));
    w.let_pile_up(hog, svc, 12_000);
    w.let_pile_up(idle, svc, 7_750);
    let calls = [(); 6].map(|()| w.call(c, "echo", "", b""));

    w.disconnect(svc);

    w.expect_unknown(calls[5], ErrorCode::SERVICE_GONE);
    w.expect_cut(hog, "bytes wait to be read");
    w.expect_open(idle);
}

#[test]
fn a_full_broker_cuts_a_connection_of_the_user_that_holds_most() {
    let mut w = World::with_limits(|limits| {
        limits.bytes_total = 40_000;
        limits.bytes_per_uid = 30_000;
    });
    let (svc, c) = (w.service("echo"), w.peer(OWNER));
    let (small, large) = ([w.peer(0), w.peer(0), w.peer(0)], w.peer(OWNER));
    small.iter().for_each(|peer| w.let_pile_up(*peer, svc, 8_000));
    w.let_pile_up(large, svc, 10_000);

    w.call(c, "echo", "", b"");
    w.reply_next(svc, &[b'x'; 8_000]);

    w.expect_open(large);
    w.expect_cut(small[2], "bytes wait to be read");
    w.expect_open(small[0]);
}

#[test]
fn a_burst_does_not_cut_a_peer_that_reads() {
    let mut w = World::with_limits(|limits| limits.unread_hard_bytes = 500);
    let (svc, c) = (w.service("echo"), w.peer(OWNER));
    let calls = [(); 8].map(|()| w.call(c, "echo", "", b""));

    w.disconnect(svc);

    w.expect_unknown(calls[7], ErrorCode::SERVICE_GONE);
    w.expect_open(c);
}

#[test]
fn the_hard_limit_cuts_only_the_peer_that_does_not_read() {
    let mut w = World::with_limits(|limits| limits.unread_hard_bytes = 20_000);
    let (svc, stopped, other) = (w.service("echo"), w.peer(OWNER), w.peer(OWNER));
    w.let_pile_up(stopped, svc, 15_000);
    w.expect_open(stopped);

    w.let_pile_up(stopped, svc, 15_000);

    w.expect_cut(stopped, "30384 bytes wait to be read, the limit is 20000");
    w.expect_open(svc);
    w.expect_open(other);
}

#[test]
fn calls_that_run_are_refused_when_they_fill_the_quota() {
    let mut w = World::with_limits(|limits| limits.bytes_per_uid = 12_000);
    let (svc, c) = (w.worker("slow", 1_000), w.peer(OWNER));

    let calls = [(); 100].map(|()| w.call(c, "slow", "", b""));

    assert!(w.bytes_held() <= 12_000);
    w.expect_no_end(calls[60]);
    w.expect_safe(calls[99], ErrorCode::BUSY);
    w.reply_next(svc, b"");
    let next = w.call(c, "slow", "", b"");
    w.expect_no_end(next);
}

/// A world in which each of two users is sure of 8,000 bytes, and a service of the broker's user that answers no one.
fn guaranteeing() -> (World, Peer) {
    let mut w = World::with_limits(|limits| {
        (limits.body_bytes, limits.bytes_guaranteed) = (1_000, 8_000);
        (limits.bytes_total, limits.bytes_per_uid) = (40_000, 40_000);
        (limits.calls_per_caller, limits.calls_per_service) = (10_000, 10_000);
    });
    let svc = w.worker("slow", 10_000);
    (w, svc)
}

#[test]
fn a_user_finds_room_however_much_another_one_holds() {
    let (mut w, svc) = guaranteeing();
    let (greedy, c) = (w.peer(0), w.peer(OWNER));
    let calls: Vec<_> = (0..400).map(|_| w.call(greedy, "slow", "", b"")).collect();
    w.expect_safe(calls[399], ErrorCode::BUSY);

    let late = [(); 20].map(|()| w.call(c, "slow", "", &[b'x'; 200]));

    late.iter().for_each(|call| w.expect_no_end(*call));
    w.expect_open(svc);
    assert!(w.bytes_held() <= 40_000);
}

#[test]
fn a_full_broker_cuts_no_connection_of_a_user_that_holds_what_it_is_sure_of() {
    let (mut w, _) = guaranteeing();
    let (echo, greedy, modest) = (w.service("echo"), w.peer(0), w.peer(OWNER));
    w.let_pile_up(modest, echo, 3_000);
    (0..400).for_each(|_| _ = w.call(greedy, "slow", "", b""));

    w.expect_open(modest);
    w.expect_open(greedy);
}
