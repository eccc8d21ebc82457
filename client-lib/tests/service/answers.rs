//! What the caller of a method gets.

use std::time::Duration;

use ipc_client::{Encoding, ErrorCode, Failed, Method, Response, Retry, Service};
use ipc_protocol::{Call, Failure, Message, codec};

use crate::{
    adder,
    common::{ADD, Add, Door, Text, TooLarge, delivered},
    start, stop, sum,
};

#[test]
fn a_service_answers_in_the_encoding_of_the_caller() {
    let door = Door::open();
    let (serving, mut line) = start(&door, adder());
    line.deliver(5, Encoding::BINCODE, &ADD);
    let reply = line.expect_reply();
    assert_eq!((reply.id, reply.encoding, &reply.body[..]), (5, Encoding::BINCODE, &[6][..]));
    line.deliver(6, Encoding::JSON, &ADD);
    let reply = line.expect_reply();
    assert_eq!((reply.id, reply.encoding, &reply.body[..]), (6, Encoding::JSON, &b"3"[..]));
    line.deliver(7, Encoding::BYTES, &ADD);
    assert_eq!(line.expect_reply().encoding, Encoding::JSON);
    stop(serving, line);
}

#[test]
fn quick_replies_to_one_read_leave_with_one_write() {
    let door = Door::open();
    let (serving, mut line) = start(&door, adder());
    let body = codec::encode(Encoding::BINCODE, &ADD).unwrap();
    line.send_all((1..=50).map(|id| Message::Call(delivered(id, "add", Encoding::BINCODE, body.clone()))));
    assert_eq!(line.next_read().len(), 50);
    stop(serving, line);
}

/// `calc.never`: a method that never says no.
#[derive(serde::Serialize, serde::Deserialize)]
struct Never;

impl Method for Never {
    const SERVICE: &'static str = "calc";
    const METHOD: &'static str = "never";
    type Reply = ();
    type Error = std::convert::Infallible;
}

#[test]
fn a_method_that_never_says_no_says_so() {
    let door = Door::open();
    let (serving, mut line) = start(&door, Service::new("calc").quick(|_: Never, _| Ok(())));
    line.deliver(1, Encoding::JSON, &Never);
    assert_eq!(&line.expect_reply().body[..], b"null");
    stop(serving, line);
}

#[test]
fn an_error_of_the_service_has_its_code_its_value_and_its_text() {
    let door = Door::open();
    let (serving, mut line) = start(&door, adder());
    line.deliver(1, Encoding::JSON, &Add { a: i64::MAX, b: 1 });
    let failure = line.expect_error();
    assert_eq!((failure.code, failure.app_code), (ErrorCode::APP_ERROR, 7));
    assert_eq!(failure.text, format!("the sum of {} and 1 is too large", i64::MAX));
    assert_eq!(&failure.body[..], format!(r#"{{"a":{},"b":1}}"#, i64::MAX).as_bytes());
    stop(serving, line);
}

#[test]
fn a_typed_method_can_refuse_a_call_that_it_has_not_run() {
    let door = Door::open();
    let service = Service::new("calc").quick(|text: Text, _| {
        Err(match text.0.as_str() {
            "busy" => Failed::busy("full"),
            "denied" => Failed::denied("not you"),
            _ => Failed::invalid("what?"),
        })
    });
    let (serving, mut line) = start(&door, service);
    let mut refusal = |word: &str| {
        line.deliver(1, Encoding::BINCODE, &Text(word.into()));
        let failure = line.expect_error();
        (failure.code, failure.retry, failure.text)
    };
    assert_eq!(refusal("busy"), (ErrorCode::BUSY, Retry::Safe, "full".into()));
    assert_eq!(refusal("denied"), (ErrorCode::DENIED, Retry::Safe, "not you".into()));
    assert_eq!(refusal(""), (ErrorCode::INVALID, Retry::Safe, "what?".into()));
    stop(serving, line);
}

fn unlucky_with_13(add: Add) -> Result<i64, Failed<TooLarge>> {
    if add.a == 13 { panic!("unlucky") } else { sum(add) }
}

#[test]
fn a_panic_is_internal_for_its_caller_and_nothing_else() {
    let door = Door::open();
    let (serving, mut line) = start(&door, Service::new("calc").quick(|add, _| unlucky_with_13(add)));
    line.deliver(1, Encoding::BINCODE, &Add { a: 13, b: 0 });
    let failure = line.expect_error();
    assert_eq!((failure.code, failure.retry), (ErrorCode::INTERNAL, Retry::Unknown));
    assert_eq!(failure.text, "calc.add panicked: unlucky");
    line.deliver(2, Encoding::BINCODE, &ADD);
    assert_eq!(line.expect_reply().id, 2);
    stop(serving, line);
}

#[test]
fn a_panic_on_the_pool_costs_no_thread() {
    let door = Door::open();
    let service = Service::new("calc").threads(1).method(|add, _| unlucky_with_13(add));
    let (serving, mut line) = start(&door, service);
    line.deliver(1, Encoding::BINCODE, &Add { a: 13, b: 0 });
    assert_eq!(line.expect_error().code, ErrorCode::INTERNAL);
    line.deliver(2, Encoding::BINCODE, &ADD);
    assert_eq!(line.expect_reply().id, 2);
    stop(serving, line);
}

#[test]
fn an_unknown_method_is_refused_with_those_there_are() {
    let door = Door::open();
    let (serving, mut line) = start(&door, adder());
    line.send(Message::Call(delivered(1, "mul", Encoding::JSON, "{}")));
    let failure = line.expect_error();
    assert_eq!((failure.code, failure.retry), (ErrorCode::NO_METHOD, Retry::Safe));
    assert_eq!(failure.text, "calc has no method mul (it has add)");
    stop(serving, line);
}

#[test]
fn any_takes_bytes_as_they_are_and_one_way_calls_are_answered() {
    let door = Door::open();
    let service = Service::anonymous().any(|incoming, _| match incoming.method.as_str() {
        "deny" => Err(Failed::new(ErrorCode::APP_ERROR, "no").app_code(3)),
        method => Ok(Response::bytes(format!("{}.{method} {}", incoming.service, incoming.one_way))),
    });
    let (serving, mut line) = start(&door, service);
    line.send(Message::Call(Call { one_way: true, ..delivered(1, "shell", Encoding::BYTES, "\0") }));
    assert_eq!(&line.expect_reply().body[..], b"calc.shell true");
    line.send(Message::Call(delivered(2, "deny", Encoding::BYTES, "")));
    let Failure { id, code, app_code, .. } = line.expect_error();
    assert_eq!((id, code, app_code), (2, ErrorCode::APP_ERROR, 3));
    stop(serving, line);
}

#[test]
fn a_call_knows_its_caller_and_its_deadline() {
    let door = Door::open();
    let service = Service::new("calc").method(|_: Text, context| {
        let left = context.time_left();
        assert!(left > Duration::from_secs(20) && left <= Duration::from_secs(30), "{left:?}");
        let caller = context.caller();
        Ok(format!("{} {} {:?}", caller.identity.uid, caller.identity.gid, caller.peer))
    });
    let (serving, mut line) = start(&door, service);
    line.deliver(1, Encoding::JSON, &Text(String::new()));
    assert_eq!(&line.expect_reply().body[..], br#""1000 100 Some(PeerNumber(7))""#);
    stop(serving, line);
}

#[test]
fn a_call_without_a_stamp_is_refused() {
    let door = Door::open();
    let (serving, mut line) = start(&door, adder());
    line.send(Message::Call(Call { caller: bytes::Bytes::new(), ..delivered(1, "add", Encoding::JSON, "{}") }));
    assert_eq!(line.expect_error().code, ErrorCode::PROTOCOL);
    stop(serving, line);
}
