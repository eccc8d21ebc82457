//! Calls of bytes, and calls without an answer.

use std::thread;

use bytes::Bytes;
use ipc_client::{Encoding, ErrorCode, Request, Response, Retry};
use ipc_protocol::{Message, Reply};

use crate::{common::Line, request};

#[test]
fn a_reply_of_bytes_comes_as_it_is() {
    let (client, mut line) = Line::open_pair();
    let pending = client.start_bytes(request().trace("00-1-2-01")).unwrap();
    let call = line.expect_call();
    assert_eq!((call.encoding, &call.body[..]), (Encoding::BYTES, &b"1 2"[..]));
    assert_eq!(call.routing.text(ipc_protocol::FieldTag::TRACE), Some("00-1-2-01"));
    assert_eq!((call.routing.service(), call.routing.method()), (&b"calc.add"[..], &b""[..]));
    line.send(Message::Reply(Reply {
        id: call.id,
        encoding: Encoding::BYTES,
        body: Bytes::from_static(b"\0\xff").into(),
    }));
    assert_eq!(pending.wait().unwrap(), Response::bytes(&b"\0\xff"[..]));
}

#[test]
fn a_body_over_the_limit_stays_here() {
    let (client, line) = Line::open_pair();
    let error = client.call_bytes(Request::new(request().target, vec![0; (1 << 20) + 1])).unwrap_err();
    assert_eq!((error.code(), error.retry()), (ErrorCode::TOO_LARGE, Retry::Safe));
    assert!(line.is_silent());
}

#[test]
fn one_way_returns_when_the_broker_has_accepted() {
    let (client, mut line) = Line::open_pair();
    thread::scope(|scope| {
        let sending = scope.spawn(|| client.one_way(request()));
        let [Message::Call(call), Message::Ping(ping)] = &line.next_read()[..] else { panic!("not one write") };
        assert!(call.one_way);
        line.send(Message::Pong(*ping));
        sending.join().unwrap().unwrap();
    });
}

#[test]
fn one_way_is_told_of_a_refusal() {
    let (client, mut line) = Line::open_pair();
    thread::scope(|scope| {
        let sending = scope.spawn(|| client.one_way(request()));
        let call = line.expect_call();
        line.refuse(call.id, ErrorCode::NO_SERVICE, "");
        line.expect_ping();
        let error = sending.join().unwrap().unwrap_err();
        assert_eq!((error.code(), error.retry()), (ErrorCode::NO_SERVICE, Retry::Safe));
    });
}
