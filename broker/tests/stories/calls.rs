//! Calls that are delivered and answered.

use ipc_protocol::{Encoding, ErrorCode, Failure, Identity, Message, PeerNumber, Reply};

use crate::world::{OWNER, Request, World};

#[test]
fn a_call_is_delivered_and_its_answer_comes_back() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));

    let call = w.call(c, "clock", "now", b"utc");
    let delivered = w.next_call(svc);
    w.reply(&delivered, b"12:00");

    assert_eq!((delivered.service(), delivered.method()), ("clock", "now"));
    assert_eq!(delivered.call.body, &b"utc"[..]);
    assert_eq!(w.expect_reply(call).body, &b"12:00"[..]);
}

#[test]
fn a_call_carries_the_identity_that_the_kernel_reports() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(0));

    w.call(c, "clock", "", b"");

    let (identity, number) = Identity::from_stamp(&w.next_call(svc).call.caller).unwrap();
    assert_eq!((identity.uid, identity.gid, identity.groups), (0, 1, vec![24, 25]));
    assert_eq!(number, Some(PeerNumber(w.number(c))));
}

#[test]
fn a_call_carries_the_time_its_caller_waits() {
    let mut w = World::new();
    let (svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    w.make(c, Request::to("clock", "").within(2_000));
    w.make(c, Request::to("clock", "").within(2_000));

    w.advance(1_500);
    let first = w.next_call(svc);
    w.reply(&first, b"");

    assert_eq!(first.call.timeout_ms, 2_000);
    assert_eq!(w.next_call(svc).call.timeout_ms, 500);
}

#[test]
fn a_call_without_a_deadline_gets_the_default_one() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));

    w.call(c, "clock", "", b"");

    assert_eq!(w.next_call(svc).call.timeout_ms, 30_000);
}

#[test]
fn a_deadline_over_the_limit_is_shortened_to_it() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));

    w.make(c, Request::to("clock", "").within(u32::MAX));

    assert_eq!(w.next_call(svc).call.timeout_ms, 3_600_000);
}

#[test]
fn an_application_error_passes_unchanged() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    let call = w.call(c, "clock", "", b"");
    let delivered = w.next_call(svc);
    let sent = Failure {
        app_code: 42,
        encoding: Encoding::JSON,
        body: bytes::Bytes::from_static(b"{}").into(),
        ..Failure::new(delivered.call.id, ErrorCode::APP_ERROR, "no such zone")
    };

    w.answer_as(svc, Message::Error(sent.clone()));

    let got = w.expect_error(call, ErrorCode::APP_ERROR);
    assert_eq!(got, Failure { id: got.id, ..sent });
}

#[test]
fn a_service_cannot_claim_what_only_the_broker_knows() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    let call = w.call(c, "clock", "", b"");
    let delivered = w.next_call(svc);

    w.fail(&delivered, ErrorCode::SERVICE_GONE);

    w.expect_unknown(call, ErrorCode::INTERNAL);
}

#[test]
fn a_service_cannot_claim_that_a_retry_is_safe() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    let call = w.call(c, "clock", "", b"");
    let id = w.next_call(svc).call.id;

    let lie = Failure { retry: ipc_protocol::Retry::Safe, ..Failure::new(id, ErrorCode::INTERNAL, "oops") };
    w.answer_as(svc, Message::Error(lie));

    w.expect_unknown(call, ErrorCode::INTERNAL);
}

#[test]
fn an_unknown_error_code_passes_and_may_have_run() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    let call = w.call(c, "clock", "", b"");
    let delivered = w.next_call(svc);

    w.fail(&delivered, ErrorCode(999));

    w.expect_unknown(call, ErrorCode(999));
}

#[test]
fn an_answer_over_the_limit_ends_its_call() {
    let mut w = World::new();
    let (svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    let call = w.call(c, "clock", "", b"");
    let next = w.call(c, "clock", "", b"");
    let delivered = w.next_call(svc);

    w.reply_too_large(&delivered, 2_000_000);

    w.expect_unknown(call, ErrorCode::TOO_LARGE);
    w.expect_open(svc);
    w.reply_next(svc, b"");
    w.expect_reply(next);
}

#[test]
fn a_call_over_the_limit_is_refused_and_the_connection_lives() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));

    let call = w.make_too_large(c, Request::to("clock", ""), 2_000_000);

    w.expect_safe(call, ErrorCode::TOO_LARGE);
    w.expect_no_call(svc);
    w.expect_served(c, "clock", svc);
}

#[test]
fn a_service_calls_another_before_it_answers() {
    let mut w = World::new();
    let (front, back, c) = (w.worker("front", 1), w.worker("back", 1), w.peer(OWNER));
    let call = w.call(c, "front", "", b"");
    let outer = w.next_call(front);

    let nested = w.make(front, Request::to("back", "").within(outer.call.timeout_ms));
    w.reply_next(back, b"inner");
    w.expect_reply(nested);
    w.reply(&outer, b"outer");

    assert_eq!(w.expect_reply(call).body, &b"outer"[..]);
}

#[test]
fn a_peer_may_call_itself() {
    let mut w = World::new();
    let svc = w.service("mirror");
    let call = w.call(svc, "mirror", "", b"me");

    w.reply_next(svc, b"you");

    w.expect_reply(call);
    w.end();
}

#[test]
fn a_peer_that_forges_a_caller_is_cut() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    w.call(c, "clock", "", b"");
    let forged = w.next_call(svc).call;

    w.send(c, Message::Call(ipc_protocol::Call { id: u64::MAX, ..forged }));

    w.expect_cut(c, "written by the broker alone");
    w.expect_no_call(svc);
}

#[test]
fn a_peer_whose_call_ids_do_not_grow_is_cut() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    let call = w.call(c, "clock", "", b"");
    let delivered = w.next_call(svc).call;

    w.send(c, Message::Call(ipc_protocol::Call { id: 1, caller: bytes::Bytes::new(), ..delivered }));

    w.expect_cut(c, "call ids must grow: 1 came after 1");
    w.expect_no_end(call);
}

#[test]
fn a_peer_that_numbers_a_call_zero_is_cut() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    w.call(svc, "clock", "", b"");
    let delivered = w.next_call(svc).call;

    w.send(c, Message::Call(ipc_protocol::Call { id: 0, caller: bytes::Bytes::new(), ..delivered }));

    w.expect_cut(c, "call ids must grow: 0 came after 0");
}

#[test]
fn a_second_answer_is_dropped_and_counted() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    let call = w.call(c, "clock", "", b"");
    let delivered = w.next_call(svc);
    w.reply(&delivered, b"first");

    w.reply(&delivered, b"second");

    assert_eq!(w.expect_reply(call).body, &b"first"[..]);
    assert_eq!(w.stat(c, "replies_stray"), 1);
    assert_eq!(w.stat(c, "replies"), 1);
    w.expect_open(svc);
}

#[test]
fn a_peer_cannot_answer_for_another() {
    let mut w = World::new();
    let (svc, thief, c) = (w.service("clock"), w.service("thief"), w.peer(OWNER));
    let call = w.call(c, "clock", "", b"");
    let delivered = w.next_call(svc);

    let stolen =
        Reply { id: delivered.call.id, encoding: Encoding::BYTES, body: bytes::Bytes::from_static(b"stolen").into() };
    w.answer_as(thief, Message::Reply(stolen));

    w.expect_no_end(call);
    w.reply(&delivered, b"true");
    assert_eq!(w.expect_reply(call).body, &b"true"[..]);
    assert_eq!(w.stat(c, "replies_stray"), 1);
}

#[test]
fn a_peer_that_keeps_sending_stray_replies_is_cut() {
    let mut w = World::with_limits(|limits| limits.stray_replies = 2);
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    let call = w.call(c, "clock", "", b"");
    let stray = Message::Reply(Reply { id: 99, encoding: Encoding::BYTES, body: bytes::Bytes::new().into() });

    w.answer_as(svc, stray.clone());
    w.answer_as(svc, stray.clone());
    w.expect_open(svc);
    w.answer_as(svc, stray);

    w.expect_cut(svc, "3 replies to calls that were not delivered to this peer");
    w.expect_unknown(call, ErrorCode::SERVICE_GONE);
}
