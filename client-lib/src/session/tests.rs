use std::os::{fd::AsFd, unix::net::UnixStream};

use ipc_protocol::{Encoding, Features, PeerNumber, Routing};

use super::*;

fn fresh(role: Role) -> Session {
    Session::new(Hello::new("test"), role)
}

fn open() -> Session {
    let mut session = fresh(Role::Caller);
    assert_eq!(session.receive(welcome()), Ok(Event::Nothing));
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

fn outgoing() -> Call {
    Call {
        id: 0,
        caller: Bytes::new(),
        routing: Routing::to("calc", "add").build(),
        encoding: Encoding::JSON,
        body: Bytes::from_static(b"{}").into(),
        timeout_ms: 0,
        one_way: false,
    }
}

fn call(session: &mut Session) -> CallId {
    session.call(&mut outgoing()).unwrap().unwrap()
}

fn reply(id: CallId, body: &'static [u8]) -> Message {
    Message::Reply(Reply { id: id.0, encoding: Encoding::JSON, body: Bytes::from_static(body).into() })
}

fn goodbye(code: ErrorCode) -> Message {
    Message::Goodbye(Goodbye { code, text: "too many connections".into() })
}

fn loss() -> Loss {
    Loss { code: ErrorCode::BROKER_LOST, text: "the connection ended".into(), written: Retry::Unknown }
}

fn error(session: &mut Session, id: CallId) -> Error {
    session.take(id).expect("the call has ended").expect_err("with an error")
}

/// Writes everything out; what is returned keeps the socket open.
fn write_out(session: &mut Session) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    session.flush(ours.as_fd()).unwrap();
    assert_eq!(session.unsent(), 0);
    theirs
}

#[test]
fn a_reply_ends_its_call_once() {
    let mut session = open();
    let id = call(&mut session);
    assert_eq!(session.receive(reply(id, b"3")), Ok(Event::Ended(id)));
    assert_eq!(session.take(id).unwrap().unwrap().body, "3");
    assert!(session.take(id).is_none());
    assert_eq!(session.slots.len(), 0);
}

#[test]
fn ids_grow_from_one() {
    let mut session = open();
    assert_eq!(call(&mut session), CallId(1));
    assert_eq!(session.ping(), Some(CallId(2)));
    assert_eq!(call(&mut session), CallId(3));
}

#[test]
fn a_second_reply_is_ignored() {
    let mut session = open();
    let id = call(&mut session);
    session.receive(reply(id, b"first")).unwrap();
    assert_eq!(session.receive(reply(id, b"second")), Ok(Event::Nothing));
    assert_eq!(session.take(id).unwrap().unwrap().body, "first");
    assert_eq!(session.receive(reply(id, b"third")), Ok(Event::Nothing));
}

#[test]
fn replies_to_calls_that_were_never_made_are_ignored() {
    let mut session = open();
    assert_eq!(session.receive(reply(CallId(0), b"")), Ok(Event::Nothing));
    assert_eq!(session.receive(reply(CallId(u64::MAX), b"")), Ok(Event::Nothing));
    assert_eq!(session.slots.len(), 0);
}

#[test]
fn a_pong_ends_no_call_and_a_reply_no_ping() {
    let mut session = open();
    let (id, ping) = (call(&mut session), session.ping().unwrap());
    assert_eq!(session.receive(Message::Pong(id.0)), Ok(Event::Nothing));
    assert_eq!(session.receive(reply(ping, b"")), Ok(Event::Nothing));
    assert_eq!(session.receive(Message::Pong(ping.0)), Ok(Event::Ended(ping)));
}

#[test]
fn nothing_may_come_before_welcome() {
    let mut session = fresh(Role::Caller);
    let id = call(&mut session);
    assert!(matches!(session.receive(reply(id, b"")), Err(Violation::UnexpectedKind(_))));
}

#[test]
fn a_second_welcome_and_a_hello_are_violations() {
    let mut session = open();
    assert!(matches!(session.receive(welcome()), Err(Violation::UnexpectedKind(_))));
    assert!(matches!(session.receive(Message::Hello(Hello::new("x"))), Err(Violation::UnexpectedKind(_))));
}

#[test]
fn a_welcome_in_a_version_nobody_offered_is_a_violation() {
    let mut session = fresh(Role::Caller);
    let Message::Welcome(welcome) = welcome() else { unreachable!() };
    let wrong = Message::Welcome(Welcome { version: 9, ..welcome });
    assert!(matches!(session.receive(wrong), Err(Violation::Version { found: 9, .. })));
}

#[test]
fn a_goodbye_instead_of_welcome_refuses_everything_safely() {
    let mut session = fresh(Role::Caller);
    let id = call(&mut session);
    let _broker = write_out(&mut session);
    assert_eq!(session.receive(goodbye(ErrorCode::BUSY)), Ok(Event::Closed));
    let error = error(&mut session, id);
    assert_eq!((error.code(), error.retry()), (ErrorCode::BUSY, Retry::Safe));
    assert!(error.text().contains("too many connections"));
}

#[test]
fn a_goodbye_later_loses_calls_with_its_reason() {
    let mut session = open();
    let id = call(&mut session);
    let _broker = write_out(&mut session);
    assert_eq!(session.receive(goodbye(ErrorCode::BUSY)), Ok(Event::Closed));
    let error = error(&mut session, id);
    assert_eq!((error.code(), error.retry()), (ErrorCode::BROKER_LOST, Retry::Unknown));
    assert!(error.text().contains("too many connections"));
}

#[test]
fn a_loss_ends_every_call_exactly_once() {
    let mut session = open();
    let (first, second) = (call(&mut session), call(&mut session));
    session.receive(reply(first, b"in time")).unwrap();
    let _broker = write_out(&mut session);

    session.lost(loss());
    session.lost(Loss { code: ErrorCode::DENIED, ..loss() });

    assert_eq!(session.take(first).unwrap().unwrap().body, "in time");
    assert_eq!(error(&mut session, second).code(), ErrorCode::BROKER_LOST);
    assert!(session.take(second).is_none());
    assert_eq!(session.receive(reply(second, b"late")), Ok(Event::Nothing));
}

#[test]
fn only_a_call_that_was_written_may_have_run() {
    let mut session = open();
    let written = call(&mut session);
    let _broker = write_out(&mut session);
    let unwritten = call(&mut session);

    session.lost(loss());

    assert_eq!(error(&mut session, written).retry(), Retry::Unknown);
    assert_eq!(error(&mut session, unwritten).retry(), Retry::Safe);
}

#[test]
fn a_call_that_was_written_in_part_has_not_run() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let mut session = fresh(Role::Caller);
    let mut long = Call { body: vec![0; MAX_BODY as usize].into(), ..outgoing() };
    let id = session.call(&mut long).unwrap().unwrap();
    session.flush(ours.as_fd()).unwrap();
    assert!(session.unsent() > 0 && session.unsent() < MAX_BODY as usize && session.is_unsent(id));

    session.lost(loss());

    assert_eq!(error(&mut session, id).retry(), Retry::Safe);
}

#[test]
fn a_call_that_could_not_be_written_can_go_elsewhere() {
    let mut session = open();
    let written = call(&mut session);
    let _broker = write_out(&mut session);
    let unwritten = call(&mut session);

    session.unwritable("broken pipe");

    assert!(session.reclaim(unwritten) && !session.reclaim(written));
    assert_eq!(session.call(&mut outgoing()).unwrap(), None);
    assert_eq!(session.receive(reply(written, b"still on its way")), Ok(Event::Ended(written)));
}

#[test]
fn welcome_may_be_read_after_writing_failed() {
    let mut session = fresh(Role::Caller);
    session.unwritable("broken pipe");
    assert_eq!(session.receive(welcome()), Ok(Event::Nothing));
    assert_eq!(session.receive(goodbye(ErrorCode::PROTOCOL)), Ok(Event::Closed));
}

#[test]
fn a_call_given_up_is_cancelled_and_its_late_reply_ignored() {
    let mut session = open();
    let id = call(&mut session);
    let before = session.unsent();
    assert!(session.abandon(id, ErrorCode::CANCELLED).is_none());
    let cancel = Message::Cancel(Cancel { id: id.0, reason: ErrorCode::CANCELLED });
    assert_eq!(session.unsent() - before, cancel.to_vec().len());
    assert_eq!(session.receive(reply(id, b"late")), Ok(Event::Nothing));
}

#[test]
fn a_call_that_ended_meanwhile_is_not_cancelled() {
    let mut session = open();
    let id = call(&mut session);
    session.receive(reply(id, b"3")).unwrap();
    let before = session.unsent();
    assert_eq!(session.abandon(id, ErrorCode::DEADLINE).unwrap().unwrap().body, "3");
    assert_eq!(session.unsent(), before);
}

#[test]
fn a_one_way_call_ends_with_a_refusal_only() {
    let mut session = open();
    let id = session.call(&mut Call { one_way: true, ..outgoing() }).unwrap().unwrap();
    assert_eq!(session.receive(reply(id, b"")), Ok(Event::Nothing));
    let refusal = Failure::new(id.0, ErrorCode::NO_SERVICE, "");
    assert_eq!(session.receive(Message::Error(refusal)), Ok(Event::Ended(id)));
    let error = error(&mut session, id);
    assert_eq!((error.code(), error.retry()), (ErrorCode::NO_SERVICE, Retry::Safe));
    assert!(!error.text().is_empty());
}

#[test]
fn a_body_that_the_broker_does_not_take_never_leaves() {
    let mut session = open();
    let before = session.unsent();
    let mut long = Call { body: vec![0; 1_001].into(), ..outgoing() };
    let error = session.call(&mut long).unwrap_err();
    assert_eq!((error.code(), error.retry()), (ErrorCode::TOO_LARGE, Retry::Safe));
    assert_eq!(session.unsent(), before);
}

#[test]
fn a_reply_over_the_limit_ends_its_call() {
    let mut session = open();
    let id = call(&mut session);
    assert_eq!(session.receive_too_large(id.0), Event::Ended(id));
    let error = error(&mut session, id);
    assert_eq!((error.code(), error.retry()), (ErrorCode::TOO_LARGE, Retry::Unknown));
}

#[test]
fn a_ping_is_answered() {
    let mut session = open();
    let before = session.unsent();
    session.receive(Message::Ping(77)).unwrap();
    assert_eq!(session.unsent() - before, Message::Pong(77).to_vec().len());
}

#[test]
fn a_call_delivered_to_a_caller_is_refused() {
    let delivered = || Message::Call(Call { id: 9, timeout_ms: 1, ..outgoing() });
    let mut caller = open();
    let before = caller.unsent();
    caller.receive(delivered()).unwrap();
    assert!(caller.unsent() > before);

    let (mut service, mut inbound) = (fresh(Role::Service), Vec::new());
    service.receive(welcome()).unwrap();
    service.receive(delivered()).unwrap();
    service.receive(Message::Cancel(Cancel { id: 9, reason: ErrorCode::DEADLINE })).unwrap();
    service.take_inbound(&mut inbound);
    assert!(matches!(&inbound[..], [Inbound::Call(_), Inbound::Cancel(_)]));
}

#[test]
fn a_closed_session_swallows_everything() {
    let mut session = open();
    session.lost(loss());
    assert_eq!(session.receive(welcome()), Ok(Event::Nothing));
    assert_eq!(session.receive(goodbye(ErrorCode::BUSY)), Ok(Event::Nothing));
    assert_eq!(session.ping(), None);
    session.answer(Message::Pong(1));
    assert_eq!(session.unsent(), 0);
}
