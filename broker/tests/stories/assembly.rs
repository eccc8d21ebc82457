//! Frames that arrive in pieces: which wait for room, in which order, and for how long.

use ipc_protocol::ErrorCode;

use crate::world::{OWNER, Peer, Request, Ticket, World};

/// A world with a service, where frames of the broker's user may take 35,000 bytes.
fn narrow() -> (World, Peer) {
    let mut w = World::with_limits(|limits| limits.bytes_per_uid = 40_000);
    let svc = w.service("store");
    (w, svc)
}

fn put(len: usize) -> Request {
    Request::to("store", "put").body(&vec![b'x'; len])
}

/// A call of another peer of the same user, whose frame takes nearly all the room until the rest is sent.
fn fill(w: &mut World) -> (Peer, Ticket) {
    let peer = w.peer(OWNER);
    let call = w.make_cut(peer, put(30_000), 100);
    assert!(!w.is_parked(peer));
    (peer, call)
}

#[test]
fn a_waiting_frame_gets_room_when_another_completes() {
    let (mut w, svc) = narrow();
    let (first, c) = (fill(&mut w).0, w.peer(OWNER));
    let call = w.make_cut(c, put(8_000), 100);
    assert!(w.is_parked(c));

    w.send_rest(first);
    w.send_rest(c);

    assert!(!w.is_parked(c));
    w.reply_next(svc, b"");
    w.reply_next(svc, b"");
    w.expect_reply(call);
}

#[test]
fn frames_of_a_user_get_room_in_order_of_arrival() {
    let (mut w, _) = narrow();
    let (first, _) = fill(&mut w);
    let (long, short) = (w.peer(OWNER), w.peer(OWNER));
    w.make_cut(long, put(30_000), 100);
    w.make_cut(short, put(5_000), 100);
    assert!(w.is_parked(long) && w.is_parked(short), "the short one waits behind the long one");

    w.disconnect(first);

    assert!(!w.is_parked(long) && w.is_parked(short));
}

#[test]
fn a_frame_that_stops_waiting_lets_the_next_one_in() {
    let (mut w, _) = narrow();
    let (first, long, short) = (w.peer(OWNER), w.peer(OWNER), w.peer(OWNER));
    w.make_cut(first, put(25_000), 100);
    w.make_cut(long, put(12_000).within(500), 100);
    w.make_cut(short, put(6_000), 100);
    assert!(w.is_parked(long) && w.is_parked(short), "the short one waits behind the long one");

    w.pause_reading(long); // nothing else becomes free
    w.advance(500);

    assert!(!w.is_parked(short));
}

#[test]
fn a_user_gets_room_back_whatever_another_user_takes() {
    let (mut w, _) = narrow();
    let ((first, _), c, root) = (fill(&mut w), w.peer(OWNER), w.peer(0));
    w.make_cut(c, put(8_000), 100);
    w.make_cut(root, put(30_000), 100);
    assert!(w.is_parked(c) && !w.is_parked(root));

    w.send_rest(first);

    assert!(!w.is_parked(c));
}

#[test]
fn a_frame_that_waits_long_gets_room_from_a_peer_that_does_not_read() {
    let (mut w, svc) = narrow();
    let (echo, idle, c) = (w.service("echo"), w.peer(OWNER), w.peer(OWNER));
    w.let_pile_up(idle, echo, 30_000);
    w.make_cut(c, put(8_000), 100);
    assert!(w.is_parked(c));

    w.advance(10_000);

    assert!(!w.is_parked(c));
    w.expect_cut(idle, "wait to be read");
    [svc, echo, c].iter().for_each(|reader| w.expect_open(*reader));
}

#[test]
fn a_frame_that_waits_past_its_deadline_ends_but_its_connection_lives() {
    let (mut w, svc) = narrow();
    fill(&mut w);
    let c = w.peer(OWNER);
    let call = w.make_cut(c, put(8_000).within(500), 100);

    w.advance(500);
    w.expect_safe(call, ErrorCode::DEADLINE);

    w.send_rest(c);
    w.expect_served(c, "store", svc);
}

#[test]
fn a_frame_that_waits_is_refused_when_the_limit_falls_below_it() {
    let (mut w, svc) = narrow();
    fill(&mut w);
    let c = w.peer(OWNER);
    let call = w.make_cut(c, put(8_000), 100);
    assert!(w.is_parked(c));

    w.set_limits(|limits| limits.body_bytes = 5_000);

    w.expect_safe(call, ErrorCode::TOO_LARGE);
    w.send_rest(c);
    w.expect_served(c, "store", svc);
}

#[test]
fn an_old_connection_is_held_to_new_limits() {
    let (mut w, _) = narrow();
    let c = w.peer(OWNER);
    w.set_limits(|limits| limits.body_bytes = 1_000);

    let (long, short) = (w.call(c, "store", "put", &[b'x'; 8_000]), w.call(c, "store", "put", &[b'x'; 1_001]));

    w.expect_safe(long, ErrorCode::TOO_LARGE);
    let failure = w.expect_error(short, ErrorCode::TOO_LARGE);
    assert!(failure.text.contains("1001 bytes, at most 1000"), "{}", failure.text);
}

#[test]
fn the_deadline_of_a_call_runs_from_its_first_byte() {
    let (mut w, svc) = narrow();
    let c = w.peer(OWNER);
    let call = w.make_cut(c, put(8_000).within(1_000), 100);

    w.advance(700);
    w.send_rest(c);

    assert_eq!(w.next_call(svc).call.timeout_ms, 300);
    w.advance(300);
    w.expect_unknown(call, ErrorCode::DEADLINE);
}

#[test]
fn a_call_that_arrives_after_its_deadline_is_not_delivered() {
    let (mut w, svc) = narrow();
    let c = w.peer(OWNER);
    let call = w.make_cut(c, put(8_000).within(1_000), 100);

    w.advance(1_000);
    w.send_rest(c);

    w.expect_safe(call, ErrorCode::DEADLINE);
    w.expect_no_call(svc);
}

#[test]
fn a_sender_that_takes_too_long_for_a_frame_is_cut() {
    let (mut w, _) = narrow();
    let (slow, slower) = (w.peer(OWNER), w.peer(OWNER));
    w.make_cut(slow, put(8_000), 100);
    w.make_cut(slower, put(10), 3);

    w.advance(9_999);
    [slow, slower].iter().for_each(|peer| w.expect_open(*peer));
    w.advance(1);

    w.expect_cut(slow, "the rest of a frame did not come within 10 s");
    w.expect_cut(slower, "the rest of a frame did not come within 10 s");
}

#[test]
fn a_sender_has_no_more_time_for_a_frame_whose_header_comes_late() {
    let (mut w, _) = narrow();
    let slow = w.peer(OWNER);
    w.make_cut(slow, put(8_000), 3);

    w.advance(9_999);
    w.send_part(slow, 100);
    w.expect_open(slow);
    w.advance(1);

    w.expect_cut(slow, "the rest of a frame did not come within 10 s");
}

#[test]
fn a_skipped_frame_leaves_no_deadline_behind() {
    let mut w = World::with_limits(|limits| limits.body_bytes = 5_000);
    let (_, c) = (w.service("store"), w.peer(OWNER));
    let call = w.make_cut(c, put(8_000), 100);
    w.expect_safe(call, ErrorCode::TOO_LARGE);

    w.send_rest(c);
    w.advance(60_000);

    w.expect_open(c);
}

#[test]
fn a_call_behind_a_frame_that_was_left_out_has_its_whole_time() {
    for cut in [20, 100] {
        let mut w = World::with_limits(|limits| limits.body_bytes = 5_000);
        let (svc, c) = (w.service("store"), w.peer(OWNER));
        let long = w.make_cut(c, put(8_000), cut);

        w.advance(2_000);
        w.send_rest_and_make(c, put(10).within(1_000), usize::MAX);

        w.expect_safe(long, ErrorCode::TOO_LARGE);
        assert_eq!(w.next_call(svc).call.timeout_ms, 1_000, "cut after {cut} bytes");
    }
}

#[test]
fn a_frame_that_begins_behind_one_that_was_left_out_has_its_whole_time() {
    let mut w = World::with_limits(|limits| limits.body_bytes = 5_000);
    let (svc, c) = (w.service("store"), w.peer(OWNER));
    w.make_cut(c, put(8_000), 100);

    w.advance(9_000);
    w.send_rest_and_make(c, put(10), 50);
    w.advance(9_000);

    w.expect_open(c);
    w.send_rest(c);
    assert_eq!(w.next_call(svc).call.timeout_ms, 21_000);
}

#[test]
fn time_in_which_the_broker_stood_still_is_not_its_peers() {
    let (mut w, svc) = narrow();
    let (c, quiet) = (w.peer(OWNER), w.peer(OWNER));
    w.make_cut(c, put(8_000), 100);
    w.make_cut(quiet, put(8_000), 100);

    w.stand_still(10_600);
    w.expect_open(c);
    w.send_rest(c);
    w.next_call(svc);

    w.advance(10_000);
    w.expect_cut(quiet, "the rest of a frame did not come within 10 s");
}

#[test]
fn a_long_answer_that_comes_too_late_does_not_wait_for_room() {
    let (mut w, svc) = narrow();
    let c = w.peer(OWNER);
    let late = w.make(c, put(10).within(500));
    let delivered = w.next_call(svc);
    w.advance(500);
    w.expect_unknown(late, ErrorCode::DEADLINE);
    fill(&mut w);

    w.reply_cut(&delivered, &[b'x'; 8_000], 100);

    assert!(!w.is_parked(svc));
    w.send_rest(svc);
    w.expect_served(c, "store", svc);
}

#[test]
fn a_service_whose_unanswered_calls_fill_the_room_can_answer_them() {
    let mut w = World::with_limits(|limits| limits.bytes_per_uid = 40_000);
    let (svc, c) = (w.worker("store", 300), w.peer(OWNER));
    (0..240).for_each(|_| {
        w.make(c, put(0).within(15_000));
    });
    let (first, second) = (w.next_call(svc), w.next_call(svc));

    w.reply_cut(&first, &[b'x'; 30_000], 100);
    assert!(w.is_parked(svc));
    w.advance(20_000);
    assert!(!w.is_parked(svc));

    w.send_rest(svc);
    w.reply_cut(&second, &[b'x'; 30_000], 100);
    assert!(!w.is_parked(svc));
}

#[test]
fn the_bytes_of_an_incomplete_frame_are_charged() {
    let (mut w, _) = narrow();
    let without = w.bytes_held();
    let c = w.peer(OWNER);
    let before = w.bytes_held();

    w.make_cut(c, put(3_000), 2_000);
    assert_eq!(w.bytes_held(), before + 2_000);
    w.disconnect(c);

    assert_eq!(w.bytes_held(), without);
}

/// A world with a service, where a frame begins with 1,000 bytes. Those of the broker's user may take 35,000 bytes, the longest of them
/// 14,128.
fn stepwise() -> (World, Peer) {
    let mut w = World::with_limits(|limits| {
        (limits.frame_step, limits.body_bytes, limits.bytes_per_uid) = (1_000, 10_000, 40_000);
    });
    let svc = w.service("store");
    (w, svc)
}

#[test]
fn what_has_arrived_is_charged_and_not_what_was_announced() {
    let (mut w, svc) = stepwise();
    let c = w.peer(OWNER);
    let before = w.bytes_held();

    let call = w.make_cut(c, put(10_000), 100);
    assert_eq!(w.bytes_held(), before + 1_000);
    w.send_part(c, 899);
    assert_eq!(w.bytes_held(), before + 1_000);
    w.send_part(c, 1);
    assert_eq!(w.bytes_held(), before + 2_000, "as much again as has come");
    w.send_part(c, 6_000);
    assert_eq!(w.bytes_held(), before + 8_000);

    w.send_rest(c);
    w.reply_next(svc, b"");
    w.expect_reply(call);
}

#[test]
fn a_user_may_begin_more_frames_than_would_fit() {
    let (mut w, _) = stepwise();
    let peers = [(); 8].map(|()| w.peer(OWNER));
    let _ = peers.map(|peer| w.make_cut(peer, put(10_000), 100));
    assert!(peers.iter().all(|peer| !w.is_parked(*peer)));
}

#[test]
fn frames_that_are_half_there_do_not_wait_for_each_other_for_ever() {
    let (mut w, svc) = stepwise();
    let peers = [(); 8].map(|()| w.peer(OWNER));
    let calls = peers.map(|peer| w.make_cut(peer, put(10_000), 100));
    peers.iter().for_each(|peer| w.send_part(*peer, 4_000));
    assert!(peers.iter().any(|peer| w.is_parked(*peer)), "there is no room for all of them");

    [(); 8].iter().for_each(|()| {
        peers.iter().for_each(|peer| w.send_rest(*peer));
        w.answer_each(svc);
    });

    let _ = calls.map(|call| w.expect_reply(call));
}

#[test]
fn half_a_frame_that_waits_leaves_its_room_to_the_others_when_it_ends() {
    let (mut w, _) = stepwise();
    let peers = [(); 8].map(|()| w.peer(OWNER));
    let calls = peers.map(|peer| w.make_cut(peer, put(10_000).within(500), 100));
    peers.iter().for_each(|peer| w.send_part(*peer, 4_000));
    let waits = peers.iter().position(|peer| w.is_parked(*peer)).expect("there is no room for all of them");
    let before = w.bytes_held();

    w.advance(500);

    w.expect_safe(calls[waits], ErrorCode::DEADLINE);
    assert!(w.bytes_held() < before);
    assert!(!w.is_parked(peers[waits]), "what is left of it is skipped");
}

#[test]
fn a_sender_gains_no_time_by_sending_slowly() {
    let (mut w, _) = stepwise();
    let slow = w.peer(OWNER);
    w.make_cut(slow, put(10_000), 100);

    [1_000, 2_000, 4_000].iter().for_each(|bytes| {
        w.advance(3_000);
        w.send_part(slow, *bytes);
    });
    w.expect_open(slow);
    w.advance(1_000);

    w.expect_cut(slow, "the rest of a frame did not come within 10 s");
}

#[test]
fn half_a_frame_that_is_longer_than_a_new_limit_is_refused_when_it_asks_for_more() {
    let (mut w, svc) = stepwise();
    let c = w.peer(OWNER);
    let call = w.make_cut(c, put(10_000), 3_000);
    w.set_limits(|limits| limits.body_bytes = 5_000);

    w.send_part(c, 4_000);

    w.expect_safe(call, ErrorCode::TOO_LARGE);
    w.send_rest(c);
    w.expect_served(c, "store", svc);
}
