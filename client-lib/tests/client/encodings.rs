//! What a body is written in: bincode, until a service says that it takes JSON alone.

use std::thread;

use ipc_client::{Encoding, ErrorCode};

use crate::{
    common::{ADD, Line, Text},
    failed,
};

/// `calc.text` as a caller has it that owns nothing.
#[derive(serde::Serialize)]
struct Borrowed<'a>(&'a str);

impl ipc_client::AsRequest for Borrowed<'_> {
    type Method = Text;
}

#[test]
fn a_request_may_borrow_even_if_it_is_sent_twice() {
    let (client, mut line) = Line::open_pair();
    let text = "borrowed".to_owned();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| client.start(Borrowed(&text)).unwrap().wait().unwrap());
        let refused = line.expect_call();
        line.refuse(refused.id, ErrorCode::UNSUPPORTED_ENCODING, "json is taken");
        let again = line.expect_call();
        assert_eq!(&again.body[..], br#""borrowed""#);
        line.reply_json(again.id, &"back");
        assert_eq!(waiting.join().unwrap(), "back");
    });
}

#[test]
fn a_service_that_takes_no_bincode_gets_json_from_then_on() {
    let (client, mut line) = Line::open_pair();
    thread::scope(|scope| {
        let pending = client.start(ADD).unwrap();
        let waiting = scope.spawn(|| pending.wait().unwrap());
        let refused = line.expect_call();
        line.refuse(refused.id, ErrorCode::UNSUPPORTED_ENCODING, "json and bytes are taken");
        let again = line.expect_call();
        assert_eq!((again.encoding, &again.body[..]), (Encoding::JSON, &br#"{"a":1,"b":2}"#[..]));
        line.reply_json(again.id, &3_i64);
        assert_eq!(waiting.join().unwrap(), 3);
    });
    let _add = client.start(ADD).unwrap();
    assert_eq!(line.expect_call().encoding, Encoding::JSON);
    let _other = client.start(Text(String::new())).unwrap();
    assert_eq!(line.expect_call().encoding, Encoding::JSON);
}

#[test]
fn a_service_that_takes_neither_is_not_asked_for_ever() {
    let (client, mut line) = Line::open_pair();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| failed(client.call(&ADD)));
        for _ in 0..2 {
            let call = line.expect_call();
            line.refuse(call.id, ErrorCode::UNSUPPORTED_ENCODING, "bytes are taken");
        }
        assert_eq!(waiting.join().unwrap().code(), ErrorCode::UNSUPPORTED_ENCODING);
    });
}
