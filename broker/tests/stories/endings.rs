//! How calls end without an answer: services and callers that leave, cancels, deadlines.

use ipc_protocol::{Cancel, ErrorCode, Message};

use crate::world::{OWNER, Request, World};

#[test]
fn a_running_call_ends_with_its_service() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    let call = w.call(c, "clock", "now", b"");

    w.disconnect(svc);

    w.expect_unknown(call, ErrorCode::SERVICE_GONE);
    w.end();
}

#[test]
fn a_service_that_reads_nothing_any_more_is_gone() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    let call = w.call(c, "clock", "now", b"");

    w.turn_deaf(c);
    w.turn_deaf(svc);

    w.expect_unknown(call, ErrorCode::SERVICE_GONE);
    w.expect_open(c);
    let next = w.call(c, "clock", "now", b"");
    w.expect_safe(next, ErrorCode::NO_SERVICE);
}

#[test]
fn a_queued_call_ends_with_the_last_instance() {
    let mut w = World::new();
    let (svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    w.call(c, "clock", "", b"runs");
    let waiting = w.call(c, "clock", "", b"waits");

    w.disconnect(svc);

    w.expect_safe(waiting, ErrorCode::SERVICE_GONE);
}

#[test]
fn a_queued_call_goes_to_another_instance() {
    let mut w = World::new();
    let (one, two, c) = (w.instance("pool", 1), w.instance("pool", 1), w.peer(OWNER));
    w.call_each(c, "pool", ["1", "2"]);
    let waiting = w.call(c, "pool", "", b"3");

    w.disconnect(one);

    w.expect_no_end(waiting);
    w.reply_next(two, b"");
    w.reply_next(two, b"3");
    w.expect_reply(waiting);
}

#[test]
fn a_retry_made_on_service_gone_reaches_the_successor() {
    let mut w = World::new();
    let (old, new, c) = (w.service("clock"), w.peer(OWNER), w.peer(OWNER));
    let call = w.call(c, "clock", "", b"");
    let watch = w.ipc(new, "wait", r#"{"name":"clock","gone":true}"#);

    w.disconnect(old);
    w.expect_reply(watch);
    w.offer(new, Some("clock"), 1);
    w.expect_unknown(call, ErrorCode::SERVICE_GONE);
    let retry = w.call(c, "clock", "", b"");

    w.reply_next(new, b"");
    w.expect_reply(retry);
}

#[test]
fn watchers_of_a_name_are_answered_before_its_calls_end() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    w.ipc(c, "wait", r#"{"name":"clock","gone":true}"#);
    w.call(c, "clock", "", b"");
    w.clear_inbox(c);

    w.disconnect(svc);

    assert!(matches!(w.inbox(c)[..], [Message::Reply(_), Message::Error(_)]));
}

#[test]
fn a_service_that_breaks_the_protocol_ends_like_one_that_dies() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    let call = w.call(c, "clock", "", b"");

    w.violate(svc, &ipc_protocol::Violation::UnexpectedFds);

    w.expect_cut(svc, "descriptors are not taken here");
    w.expect_unknown(call, ErrorCode::SERVICE_GONE);
    w.expect_logged("event=cut");
}

#[test]
fn a_service_receives_a_cancel_when_its_caller_dies() {
    let mut w = World::new();
    let (svc, c, other) = (w.worker("clock", 1), w.peer(OWNER), w.peer(OWNER));
    w.call(c, "clock", "", b"");
    let delivered = w.next_call(svc);
    let next = w.call(other, "clock", "", b"next");

    w.disconnect(c);
    w.expect_cancel(&delivered, ErrorCode::CANCELLED);
    w.expect_no_call(svc);
    w.reply(&delivered, b"late");

    assert_eq!(w.take_bodies(svc), ["next"]);
    w.expect_no_end(next);
    assert_eq!((w.stat(other, "replies_late"), w.stat(other, "replies")), (1, 0));
}

#[test]
fn queued_calls_are_dropped_with_their_caller() {
    let mut w = World::new();
    let (svc, c, other) = (w.worker("clock", 1), w.peer(OWNER), w.peer(OWNER));
    w.call(other, "clock", "", b"runs");
    let gone = w.call(c, "clock", "", b"gone");

    w.disconnect(c);
    w.reply_next(svc, b"");

    w.expect_no_call(svc);
    assert!(!w.was_delivered(gone));
}

#[test]
fn a_cancelled_call_ends_at_once_and_its_service_receives_the_cancel() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    let call = w.call(c, "clock", "", b"");
    let delivered = w.next_call(svc);

    w.cancel(call);

    w.expect_unknown(call, ErrorCode::CANCELLED);
    w.expect_cancel(&delivered, ErrorCode::CANCELLED);
}

#[test]
fn a_reply_after_cancel_is_dropped_and_counted() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    let call = w.call(c, "clock", "", b"");
    let delivered = w.next_call(svc);
    w.cancel(call);

    w.reply(&delivered, b"late");

    w.expect_unknown(call, ErrorCode::CANCELLED);
    assert_eq!((w.stat(c, "replies_late"), w.stat(c, "replies_stray")), (1, 0));
    assert_eq!(w.stat(c, "replies"), 0);
}

#[test]
fn an_error_after_cancel_counts_as_late_and_not_as_an_error() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    let call = w.call(c, "clock", "", b"");
    let delivered = w.next_call(svc);
    w.cancel(call);

    w.fail(&delivered, ErrorCode::APP_ERROR);

    assert_eq!((w.stat(c, "replies_late"), w.stat(c, "errors_app_error")), (1, 0));
}

#[test]
fn a_cancelled_call_keeps_its_place_in_the_window_until_it_is_answered() {
    let mut w = World::new();
    let (svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    let first = w.call(c, "clock", "", b"first");
    w.call(c, "clock", "", b"second");
    let delivered = w.next_call(svc);

    w.cancel(first);
    w.expect_no_call(svc);
    w.fail(&delivered, ErrorCode::CANCELLED);

    assert_eq!(w.take_bodies(svc), ["second"]);
}

#[test]
fn a_call_cancelled_in_the_queue_never_runs() {
    let mut w = World::new();
    let (svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    w.call_each(c, "clock", ["1", "2"]);
    let cancelled = w.call(c, "clock", "", b"3");
    w.call(c, "clock", "", b"4");

    w.cancel(cancelled);

    w.expect_safe(cancelled, ErrorCode::CANCELLED);
    [(); 2].iter().for_each(|()| w.reply_next(svc, b""));
    assert_eq!(w.take_bodies(svc), ["4"]);
}

#[test]
fn cancelling_an_ended_call_does_nothing() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    let call = w.call(c, "clock", "", b"");
    w.reply_next(svc, b"");
    w.clear_inbox(c);

    w.cancel(call);
    w.send(c, Message::Cancel(Cancel { id: 4711, reason: ErrorCode::CANCELLED, delivered: None }));

    assert_eq!(w.inbox(c), []);
    w.expect_open(c);
}

#[test]
fn a_peer_cannot_cancel_the_call_of_another() {
    let mut w = World::new();
    let (svc, a, b) = (w.service("clock"), w.peer(OWNER), w.peer(OWNER));
    let of_a = w.call(a, "clock", "", b"");

    w.send(b, Message::Cancel(Cancel { id: 1, reason: ErrorCode::CANCELLED, delivered: None }));

    w.reply_next(svc, b"");
    w.expect_reply(of_a);
}

#[test]
fn a_deadline_ends_a_queued_call() {
    let mut w = World::new();
    let (svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    w.call(c, "clock", "", b"runs");
    let waiting = w.make(c, Request::to("clock", "").within(200));

    w.advance(199);
    w.expect_no_end(waiting);
    w.advance(1);

    w.expect_safe(waiting, ErrorCode::DEADLINE);
    w.reply_next(svc, b"");
    w.expect_no_call(svc);
}

#[test]
fn a_deadline_ends_a_running_call_and_its_service_receives_a_cancel() {
    let mut w = World::new();
    let (svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    let call = w.make(c, Request::to("clock", "").within(200));
    let delivered = w.next_call(svc);
    w.call(c, "clock", "", b"next");

    w.advance(200);

    w.expect_unknown(call, ErrorCode::DEADLINE);
    w.expect_cancel(&delivered, ErrorCode::DEADLINE);
    w.expect_no_call(svc);
    w.reply(&delivered, b"late");
    assert_eq!(w.take_bodies(svc), ["next"]);
    assert_eq!(w.stat(c, "replies_late"), 1);
}

#[test]
fn a_caller_that_dies_after_the_deadline_is_not_cancelled_again() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    w.make(c, Request::to("clock", "").within(10));
    w.advance(10);
    w.clear_inbox(svc);

    w.disconnect(c);

    assert_eq!(w.inbox(svc), []);
}

#[test]
fn the_shortest_deadline_is_a_millisecond() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    let call = w.make(c, Request::to("clock", "").within(1));

    assert_eq!(w.next_call(svc).call.timeout_ms, 1);
    w.expect_no_end(call);
    w.advance(1);

    w.expect_unknown(call, ErrorCode::DEADLINE);
}

#[test]
fn the_longest_deadline_fires_after_an_hour() {
    let mut w = World::new();
    let (_svc, c) = (w.service("clock"), w.peer(OWNER));
    let call = w.make(c, Request::to("clock", "").within(u32::MAX));

    w.advance(3_599_999);
    w.expect_no_end(call);
    w.advance(1);

    w.expect_unknown(call, ErrorCode::DEADLINE);
}

#[test]
fn many_deadlines_in_one_millisecond_all_fire() {
    let mut w = World::with_limits(|limits| limits.calls_per_caller = 1_100);
    let (_svc, c) = (w.worker("clock", 1_100), w.peer(OWNER));
    let calls = [(); 1_100].map(|()| w.make(c, Request::to("clock", "").within(5)));

    w.advance(5);

    w.expect_unknown(calls[0], ErrorCode::DEADLINE);
    w.expect_unknown(calls[1_099], ErrorCode::DEADLINE);
}

#[test]
fn a_clock_that_jumps_misses_no_deadline() {
    let mut w = World::new();
    let (_svc, c) = (w.service("clock"), w.peer(OWNER));
    let calls = [1, 900, 1_100, 70_000].map(|ms| w.make(c, Request::to("clock", "").within(ms)));

    w.advance(86_400_000);

    calls.iter().for_each(|call| w.expect_unknown(*call, ErrorCode::DEADLINE));
}

#[test]
fn a_service_receives_a_call_before_its_cancel() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    w.pause_reading(svc);
    let call = w.call(c, "clock", "", b"");
    w.cancel(call);
    w.clear_inbox(svc);

    w.resume_reading(svc);

    assert!(matches!(w.inbox(svc)[..], [Message::Call(_), Message::Cancel(_)]));
}

#[test]
fn all_names_of_a_peer_are_free_before_its_callers_are_told() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    w.offer(svc, Some("calendar"), 1);
    let call = w.call(c, "clock", "", b"");
    let wait = w.ipc(c, "wait", r#"{"name":"calendar","gone":true}"#);
    w.clear_inbox(c);

    w.disconnect(svc);

    w.expect_unknown(call, ErrorCode::SERVICE_GONE);
    w.expect_reply(wait);
    assert!(matches!(w.inbox(c)[..], [Message::Reply(_), Message::Error(_)]), "{:?}", w.inbox(c));
}
