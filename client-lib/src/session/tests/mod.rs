use bytes::Bytes;
use ipc_protocol::{Encoding, Features, PeerNumber, Routing};

mod wired;

use super::*;

fn fresh(role: Role) -> Session {
    Session::new(Hello::new("test"), role, Instant::now())
}

fn open() -> Session {
    let mut session = fresh(Role::Caller);
    assert_eq!(session.apply(welcome()), Ok(Effect::Nothing));
    session
}

fn welcome() -> Message {
    Message::Welcome(Welcome {
        version: 1,
        features: Features(0),
        peer: PeerNumber(5),
        max_body: 1_000,
        call_default_ms: 30_000,
        call_max_ms: 3_600_000,
        agent: "ipcd".into(),
    })
}

fn with_body(len: usize, answer: Answer) -> Outgoing<'static> {
    Outgoing {
        what: What::Call,
        routing: Box::leak(Box::new(Routing::to("calc", "add").build())),
        encoding: Encoding::JSON,
        timeout_ms: 0,
        body: Payload::Shared(Bytes::from(vec![b'1'; len])),
        answer,
        parent: None,
    }
}

fn call_of(session: &mut Session, outgoing: &Outgoing<'_>) -> Option<Serial> {
    session.call(Instant::now(), outgoing).unwrap()
}

fn call(session: &mut Session) -> Serial {
    call_of(session, &with_body(2, Answer::Wanted)).unwrap()
}

fn delivered() -> Message {
    Message::Call(Call {
        id: 9,
        caller: Bytes::new(),
        routing: Routing::to("calc", "add").build(),
        encoding: Encoding::JSON,
        body: "{}".into(),
        timeout_ms: 1,
        one_way: false,
        streams: ipc_protocol::Streams::NONE,
    })
}

fn reply(id: Serial, body: &'static [u8]) -> Message {
    Message::Reply(Reply { id: id.0, encoding: Encoding::JSON, body: Bytes::from_static(body).into() })
}

fn goodbye(code: ErrorCode) -> Message {
    Message::Goodbye(Goodbye { code, text: "too many connections".into() })
}

fn loss() -> Loss {
    Loss { code: ErrorCode::BROKER_LOST, text: "the connection ended".into(), written: Retry::Unknown }
}

fn error(session: &mut Session, id: Serial) -> Error {
    session.take(id).expect("the call has ended").expect_err("with an error")
}

/// Writes everything out.
fn write_out(session: &mut Session) {
    while let Some(bytes) = session.poll_transmit() {
        let len = bytes.len();
        session.transmitted(len);
    }
    assert_eq!(session.unsent(), 0);
}

#[test]
fn a_reply_ends_its_call_once() {
    let mut session = open();
    let id = call(&mut session);
    assert_eq!(session.apply(reply(id, b"3")), Ok(Effect::Ended(id)));
    assert_eq!(session.take(id).unwrap().unwrap().body, "3");
    assert!(session.take(id).is_none());
    assert_eq!(session.slots.len(), 0);
}

#[test]
fn ids_grow_from_one() {
    let mut session = open();
    assert_eq!(call(&mut session), Serial(1));
    assert_eq!(session.ping(), Some(Serial(2)));
    assert_eq!(call(&mut session), Serial(3));
}

#[test]
fn a_second_reply_is_ignored() {
    let mut session = open();
    let id = call(&mut session);
    session.apply(reply(id, b"first")).unwrap();
    assert_eq!(session.apply(reply(id, b"second")), Ok(Effect::Nothing));
    assert_eq!(session.take(id).unwrap().unwrap().body, "first");
    assert_eq!(session.apply(reply(id, b"third")), Ok(Effect::Nothing));
}

#[test]
fn replies_to_calls_that_were_never_made_are_ignored() {
    let mut session = open();
    assert_eq!(session.apply(reply(Serial(0), b"")), Ok(Effect::Nothing));
    assert_eq!(session.apply(reply(Serial(u64::MAX), b"")), Ok(Effect::Nothing));
    assert_eq!(session.slots.len(), 0);
}

#[test]
fn a_pong_ends_no_call_and_a_reply_no_ping() {
    let mut session = open();
    let (id, ping) = (call(&mut session), session.ping().unwrap());
    assert_eq!(session.apply(Message::Pong(id.0)), Ok(Effect::Nothing));
    assert_eq!(session.apply(reply(ping, b"")), Ok(Effect::Nothing));
    assert_eq!(session.apply(Message::Pong(ping.0)), Ok(Effect::Ended(ping)));
}

#[test]
fn nothing_may_come_before_welcome() {
    let mut session = fresh(Role::Caller);
    let id = call(&mut session);
    assert!(matches!(session.apply(reply(id, b"")), Err(Violation::UnexpectedKind(_))));
}

#[test]
fn a_second_welcome_and_a_hello_are_violations() {
    let mut session = open();
    assert!(matches!(session.apply(welcome()), Err(Violation::UnexpectedKind(_))));
    assert!(matches!(session.apply(Message::Hello(Hello::new("x"))), Err(Violation::UnexpectedKind(_))));
}

#[test]
fn a_welcome_in_a_version_that_was_not_offered_is_a_violation() {
    let mut session = fresh(Role::Caller);
    let Message::Welcome(welcome) = welcome() else { unreachable!() };
    let wrong = Message::Welcome(Welcome { version: 9, ..welcome });
    assert!(matches!(session.apply(wrong), Err(Violation::Version { found: 9, .. })));
}

#[test]
fn a_goodbye_instead_of_welcome_refuses_everything_safely() {
    let mut session = fresh(Role::Caller);
    let id = call(&mut session);
    write_out(&mut session);
    assert_eq!(session.apply(goodbye(ErrorCode::BUSY)), Ok(Effect::Closed));
    let error = error(&mut session, id);
    assert_eq!((error.code(), error.retry()), (ErrorCode::BUSY, Retry::Safe));
    assert!(error.text().contains("too many connections"));
}

#[test]
fn a_goodbye_later_loses_calls_with_its_reason() {
    let mut session = open();
    let id = call(&mut session);
    write_out(&mut session);
    assert_eq!(session.apply(goodbye(ErrorCode::BUSY)), Ok(Effect::Closed));
    let error = error(&mut session, id);
    assert_eq!((error.code(), error.retry()), (ErrorCode::BROKER_LOST, Retry::Unknown));
    assert!(error.text().contains("too many connections"));
}

#[test]
fn a_loss_ends_every_call_exactly_once() {
    let mut session = open();
    let (first, second) = (call(&mut session), call(&mut session));
    session.apply(reply(first, b"in time")).unwrap();
    write_out(&mut session);

    session.lost(loss());
    session.lost(Loss { code: ErrorCode::DENIED, ..loss() });

    assert_eq!(session.take(first).unwrap().unwrap().body, "in time");
    assert_eq!(error(&mut session, second).code(), ErrorCode::BROKER_LOST);
    assert!(session.take(second).is_none());
    assert_eq!(session.apply(reply(second, b"late")), Ok(Effect::Nothing));
}

#[test]
fn only_a_call_that_was_written_may_have_run() {
    let mut session = open();
    let written = call(&mut session);
    write_out(&mut session);
    let unwritten = call(&mut session);

    session.lost(loss());

    assert_eq!(error(&mut session, written).retry(), Retry::Unknown);
    assert_eq!(error(&mut session, unwritten).retry(), Retry::Safe);
}

#[test]
fn a_call_that_was_written_in_part_has_not_run() {
    let mut session = fresh(Role::Caller);
    let id = call_of(&mut session, &with_body(100_000, Answer::Wanted)).unwrap();
    let len = session.poll_transmit().unwrap().len();
    session.transmitted(len);
    assert!(session.unsent() > 0 && session.unsent() <= 100_000 && session.is_unsent(id));

    session.lost(loss());

    assert_eq!(error(&mut session, id).retry(), Retry::Safe);
}

#[test]
fn a_call_that_could_not_be_written_can_go_elsewhere() {
    let mut session = open();
    let written = call(&mut session);
    write_out(&mut session);
    let unwritten = call(&mut session);

    session.unwritable("broken pipe");

    assert!(session.reclaim(unwritten) && !session.reclaim(written));
    assert_eq!(call_of(&mut session, &with_body(0, Answer::Wanted)), None);
    assert_eq!(session.apply(reply(written, b"still on its way")), Ok(Effect::Ended(written)));
}

#[test]
fn welcome_may_be_read_after_writing_failed() {
    let mut session = fresh(Role::Caller);
    session.unwritable("broken pipe");
    assert_eq!(session.apply(welcome()), Ok(Effect::Nothing));
    assert_eq!(session.apply(goodbye(ErrorCode::PROTOCOL)), Ok(Effect::Closed));
}

#[test]
fn a_call_given_up_is_cancelled_and_its_late_reply_ignored() {
    let mut session = open();
    let id = call(&mut session);
    let before = session.unsent();
    assert!(session.abandon(id, ErrorCode::CANCELLED).is_none());
    let cancel = Message::Cancel(Cancel { id: id.0, reason: ErrorCode::CANCELLED, delivered: None });
    assert_eq!(session.unsent() - before, cancel.to_vec().len());
    assert_eq!(session.apply(reply(id, b"late")), Ok(Effect::Nothing));
}

#[test]
fn a_call_that_ended_meanwhile_is_not_cancelled() {
    let mut session = open();
    let id = call(&mut session);
    session.apply(reply(id, b"3")).unwrap();
    let before = session.unsent();
    assert_eq!(session.abandon(id, ErrorCode::DEADLINE).unwrap().unwrap().body, "3");
    assert_eq!(session.unsent(), before);
}

#[test]
fn a_one_way_call_ends_with_a_refusal() {
    let mut session = open();
    let id = call_of(&mut session, &with_body(2, Answer::Unwanted)).unwrap();
    assert_eq!(session.apply(reply(id, b"")), Ok(Effect::Nothing));
    let refusal = Failure::new(id.0, ErrorCode::NO_SERVICE, "");
    assert_eq!(session.apply(Message::Error(refusal)), Ok(Effect::Ended(id)));
    let error = error(&mut session, id);
    assert_eq!((error.code(), error.retry()), (ErrorCode::NO_SERVICE, Retry::Safe));
    assert!(!error.text().is_empty());
    assert_eq!(session.apply(Message::Pong(id.0 + 1)), Ok(Effect::Nothing));
}

#[test]
fn a_one_way_call_ends_when_the_broker_has_dealt_with_it() {
    let mut session = open();
    let id = call_of(&mut session, &with_body(2, Answer::Unwanted)).unwrap();
    let next = call(&mut session);
    assert_eq!(session.apply(Message::Pong(next.0)), Ok(Effect::Nothing));
    assert_eq!(session.apply(Message::Pong(id.0 + 1)), Ok(Effect::Ended(id)));
    assert!(session.take(id).unwrap().is_ok());
}

#[test]
fn a_body_that_the_broker_does_not_take_never_leaves() {
    let mut session = open();
    let before = session.unsent();
    let error = session.call(Instant::now(), &with_body(1_001, Answer::Wanted)).unwrap_err();
    assert_eq!((error.code(), error.retry()), (ErrorCode::TOO_LARGE, Retry::Safe));
    assert_eq!(session.unsent(), before);
}

#[test]
fn a_reply_over_the_limit_ends_its_call() {
    let mut session = open();
    let id = call(&mut session);
    assert_eq!(session.skipped(&Header::new(Kind::REPLY, id.0)), Effect::Ended(id));
    let error = error(&mut session, id);
    assert_eq!((error.code(), error.retry()), (ErrorCode::TOO_LARGE, Retry::Unknown));
}

#[test]
fn calls_made_on_behalf_of_a_delivered_call_end_with_it() {
    let mut session = open();
    let nested = |parent| Outgoing { parent: NonZeroU64::new(parent), ..with_body(2, Answer::Wanted) };
    let (of_seven, of_eight) = (call_of(&mut session, &nested(7)).unwrap(), call_of(&mut session, &nested(8)).unwrap());
    let own = call(&mut session);
    let before = session.unsent();
    let mut ended = Vec::new();

    session.end_nested(NonZeroU64::new(7).unwrap(), ErrorCode::DEADLINE, |id| ended.push(id));

    assert_eq!(ended, [of_seven]);
    let cancel = Message::Cancel(Cancel { id: of_seven.0, reason: ErrorCode::DEADLINE, delivered: None });
    assert_eq!(session.unsent() - before, cancel.to_vec().len());
    let error = error(&mut session, of_seven);
    assert_eq!((error.code(), error.retry()), (ErrorCode::DEADLINE, Retry::Unknown));
    assert!(session.take(of_eight).is_none() && session.take(own).is_none());
}

#[test]
fn the_default_of_the_broker_holds_as_soon_as_it_is_known() {
    let mut session = fresh(Role::Caller);
    let now = Instant::now();
    let patience = Patience::new(now, 0);
    let before = session.until(patience);
    let Message::Welcome(welcome) = welcome() else { unreachable!() };
    session.apply(Message::Welcome(Welcome { call_default_ms: 90_000, ..welcome })).unwrap();
    assert_eq!(session.until(patience) - before, Duration::from_secs(60));
}

#[test]
fn a_session_is_behind_after_a_pause_and_after_a_crowd() {
    let mut session = open();
    let now = Instant::now();
    session.call(now, &with_body(2, Answer::Wanted)).unwrap();
    assert!(!session.is_behind(now + PAUSE) && session.is_behind(now + PAUSE + Duration::from_millis(1)));
    (1..CROWD).for_each(|_| drop(session.call(now, &with_body(2, Answer::Wanted))));
    assert!(session.is_behind(now));
}

#[test]
fn a_ping_is_answered() {
    let mut session = open();
    let before = session.unsent();
    session.apply(Message::Ping(77)).unwrap();
    assert_eq!(session.unsent() - before, Message::Pong(77).to_vec().len());
}

#[test]
fn a_call_delivered_to_a_caller_is_refused() {
    let mut caller = open();
    let before = caller.unsent();
    caller.apply(delivered()).unwrap();
    assert!(caller.unsent() > before);

    let (mut service, mut inbound) = (fresh(Role::Service), Vec::new());
    service.apply(welcome()).unwrap();
    service.apply(delivered()).unwrap();
    service.apply(Message::Cancel(Cancel { id: 9, reason: ErrorCode::DEADLINE, delivered: None })).unwrap();
    service.take_inbound(&mut inbound);
    assert!(matches!(&inbound[..], [Inbound::Call(_), Inbound::Cancel(_)]));
}

#[test]
fn a_closed_session_swallows_everything() {
    let mut session = open();
    session.lost(loss());
    assert_eq!(session.apply(welcome()), Ok(Effect::Nothing));
    assert_eq!(session.apply(goodbye(ErrorCode::BUSY)), Ok(Effect::Nothing));
    assert_eq!(session.ping(), None);
    let mut answers = Frames::default();
    answers.push_message(Message::Pong(1));
    session.answer(&mut answers);
    assert_eq!(session.unsent(), 0);
}
