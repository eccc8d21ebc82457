//! Typed calls, and how they end.

use std::thread;

use bytes::Bytes;
use ipc_client::{CallError, Encoding, ErrorCode, Retry, control};
use ipc_protocol::{Failure, Message, codec};

use crate::{
    common::{ADD, Line, TooLarge},
    failed,
};

#[test]
fn hello_and_the_first_call_leave_with_one_write() {
    let (client, mut line) = Line::pair();
    let _pending = client.start(ADD).unwrap();
    assert!(matches!(&line.next_read()[..], [Message::Hello(_), Message::Call(call)] if call.id == 1));
}

#[test]
fn a_typed_call_travels_as_bincode() {
    let (client, mut line) = Line::open_pair();
    let pending = client.start(ADD).unwrap();
    let call = line.expect_call();
    assert_eq!((call.routing.service(), call.routing.method()), (&b"calc"[..], &b"add"[..]));
    assert_eq!((call.encoding, &call.body[..], call.timeout_ms), (Encoding::BINCODE, &[2, 4][..], 0));
    line.reply(call.id, &3_i64);
    assert_eq!(pending.wait().unwrap(), 3);
}

#[test]
fn dropping_a_call_cancels_it_and_its_late_reply_is_ignored() {
    let (client, mut line) = Line::open_pair();
    drop(client.start(ADD).unwrap());
    let dropped = line.expect_call();
    assert_eq!(line.expect_cancel().id, dropped.id);
    line.reply(dropped.id, &99_i64);

    let next = client.start(ADD).unwrap();
    let call = line.expect_call();
    line.reply(call.id, &3_i64);
    assert_eq!(next.wait().unwrap(), 3);
}

#[test]
fn a_typed_call_can_be_told_without_an_answer() {
    let (client, mut line) = Line::open_pair();
    thread::scope(|scope| {
        let telling = scope.spawn(|| client.tell(&ADD));
        let call = line.expect_call();
        assert!(call.one_way);
        assert_eq!((call.encoding, &call.body[..]), (Encoding::JSON, &br#"{"a":1,"b":2}"#[..]));
        line.expect_ping();
        telling.join().unwrap().unwrap();
    });
}

#[test]
fn an_application_error_is_its_own_type() {
    let (client, mut line) = Line::open_pair();
    let pending = client.start(ADD).unwrap();
    let call = line.expect_call();
    let body = Bytes::from(codec::encode(Encoding::BINCODE, &TooLarge { a: 1, b: 2 }).unwrap());
    let failure = Failure::new(call.id, ErrorCode::APP_ERROR, "no");
    line.send(Message::Error(Failure { encoding: Encoding::BINCODE, body: body.into(), ..failure }));
    assert!(matches!(pending.wait(), Err(CallError::App(TooLarge { a: 1, b: 2 }))));
}

#[test]
fn an_application_error_without_a_value_keeps_its_text_and_code() {
    let (client, mut line) = Line::open_pair();
    let pending = client.start(ADD).unwrap();
    let call = line.expect_call();
    let failure = Failure::new(call.id, ErrorCode::APP_ERROR, "the shell says no");
    line.send(Message::Error(Failure { app_code: 3, ..failure }));
    let error = failed(pending.wait());
    assert_eq!((error.code(), error.app_code(), error.text()), (ErrorCode::APP_ERROR, 3, "the shell says no"));
}

#[test]
fn a_reply_of_another_type_has_run_all_the_same() {
    let (client, mut line) = Line::open_pair();
    let pending = client.start(ADD).unwrap();
    let call = line.expect_call();
    line.reply_json(call.id, &"three");
    let error = failed(pending.wait());
    assert_eq!((error.code(), error.retry()), (ErrorCode::PROTOCOL, Retry::Unknown));
    assert!(error.text().contains("calc.add"), "{error}");
}

#[test]
fn control_speaks_json_to_the_broker_itself() {
    let (client, mut line) = Line::open_pair();
    thread::scope(|scope| {
        let asking = scope.spawn(|| client.control::<_, control::Names>("list", &control::List::default(), None));
        let call = line.expect_call();
        assert_eq!((call.routing.service(), call.routing.method()), (&b"ipc"[..], &b"list"[..]));
        assert_eq!(call.encoding, Encoding::JSON);
        line.reply_json(call.id, &control::Names { names: Vec::new(), next: None });
        assert!(asking.join().unwrap().unwrap().names.is_empty());
    });
}

#[test]
fn answers_to_calls_that_were_never_made_are_ignored() {
    let (client, mut line) = Line::open_pair();
    let pending = client.start(ADD).unwrap();
    let call = line.expect_call();
    line.refuse(u64::MAX, ErrorCode::INTERNAL, "who?");
    line.send(Message::Pong(call.id));
    line.cancel(call.id, ErrorCode::CANCELLED);
    line.send(Message::Ping(7));
    line.reply(call.id, &3_i64);
    line.reply(call.id, &4_i64);
    assert_eq!(pending.wait().unwrap(), 3);
    assert!(matches!(line.next(), Message::Pong(7)));
}

#[test]
fn a_call_to_a_process_that_offers_nothing_is_refused() {
    let (client, mut line) = Line::open_pair();
    let pending = client.start(ADD).unwrap();
    let call = line.expect_call();
    line.deliver(1, Encoding::JSON, &ADD);
    line.reply(call.id, &3_i64);
    pending.wait().unwrap();
    assert_eq!(line.expect_error().code, ErrorCode::NO_METHOD);
}
