//! The service's side.

use std::{sync::mpsc, thread};

use ipc_client::{Encoding, ErrorCode, Failed, Service, Serving, Streams};
use ipc_protocol::{Call, Cancel, End, Message};

use crate::{
    BOTH, Sums,
    common::{ADD, Add, Door, Line, PATIENCE, TooLarge, delivered},
    credit, item,
};

fn sums() -> Service {
    Service::new("calc").quick(|add: Add, _| Ok(add.a + add.b)).stream(|_: Sums, items, mut out, _| {
        let (mut sum, mut count) = (0_i64, 0);
        for number in items {
            let number = number?;
            sum = sum.checked_add(number).ok_or(TooLarge { a: sum, b: number })?;
            out.send(&sum)?;
            count += 1;
        }
        Ok(count)
    })
}

fn started(service: Service) -> (Door, Serving, Line) {
    let door = Door::open();
    let service = service.address(&door.address());
    let (serving, line) = thread::scope(|scope| {
        let starting = scope.spawn(|| service.start().unwrap());
        let (line, register) = door.accept_service();
        assert!(register.streams);
        (starting.join().unwrap(), line)
    });
    (door, serving, line)
}

fn call(id: u64, method: &str, streams: Streams) -> Message {
    Message::Call(Call { streams, ..delivered(id, method, Encoding::BINCODE, Vec::new()) })
}

/// Delivers a call of the method under number 9, and takes the first credit.
fn delivered_to(service: Service) -> (Door, Serving, Line) {
    let (door, serving, mut line) = started(service);
    line.send(call(9, "sums", BOTH));
    let allowed = line.expect_credit();
    assert_eq!((allowed.id, allowed.delivered, allowed.items, allowed.bytes), (9, true, 256, 256 * 1024));
    (door, serving, line)
}

#[test]
fn a_method_takes_and_sends_items() {
    let (_door, _serving, mut line) = delivered_to(sums());
    line.send_all([credit(9, true, 8), item(9, true, &1_i64), item(9, true, &2_i64)]);
    assert_eq!((line.expect_item::<i64>(), line.expect_item::<i64>()), (1, 3));
    line.send(Message::End(End::complete(9)));
    let reply = line.expect_reply();
    assert_eq!((reply.id, &reply.body[..]), (9, &[2][..]));
    drop(line);
}

#[test]
fn an_item_waits_for_the_credit_of_the_caller() {
    let (_door, _serving, mut line) = delivered_to(sums());
    line.send_all([item(9, true, &1_i64), item(9, true, &2_i64), credit(9, true, 1)]);
    assert_eq!(line.expect_item::<i64>(), 1);
    assert!(line.is_silent());
    line.send(credit(9, true, 1));
    assert_eq!(line.expect_item::<i64>(), 3);
    drop(line);
}

#[test]
fn a_method_says_no_in_the_middle() {
    let (_door, _serving, mut line) = delivered_to(sums());
    line.send_all([credit(9, true, 8), item(9, true, &i64::MAX), item(9, true, &1_i64)]);
    assert_eq!(line.expect_item::<i64>(), i64::MAX);
    let failure = line.expect_error();
    assert_eq!((failure.id, failure.code, failure.app_code), (9, ErrorCode::APP_ERROR, 7));
    line.send(item(9, true, &1_i64)); // on its way by then
    line.deliver(10, Encoding::JSON, &ADD);
    assert_eq!(line.expect_reply().id, 10);
    drop(line);
}

#[test]
fn a_caller_that_is_gone_ends_the_items_with_an_error_that_counts() {
    let (told, hear) = mpsc::channel();
    let service = Service::new("calc").stream(move |_: Sums, items, mut out, _| {
        let error = items.last().unwrap().unwrap_err();
        told.send((error.code(), error.delivered(), out.send(&1).unwrap_err().code())).unwrap();
        Err::<u32, Failed<TooLarge>>(error.into())
    });
    let (_door, _serving, mut line) = delivered_to(service);
    line.send(item(9, true, &1_i64));
    line.send(Message::Cancel(Cancel { id: 9, reason: ErrorCode::CANCELLED, delivered: Some(3) }));
    let cancelled = ErrorCode::CANCELLED;
    assert_eq!(hear.recv_timeout(PATIENCE).unwrap(), (cancelled, Some(3), cancelled));
    assert_eq!(line.expect_error().code, cancelled);
    drop(line);
}

#[test]
fn a_caller_that_gives_up_its_items_says_why() {
    let (told, hear) = mpsc::channel();
    let service = Service::new("calc").stream(move |_: Sums, mut items, _out, _| {
        let error = items.next().unwrap().unwrap_err();
        told.send((error.code(), error.text().to_owned())).unwrap();
        Ok(0)
    });
    let (_door, _serving, mut line) = delivered_to(service);
    let end = End { error: Some(ErrorCode::NO_INPUT), text: "the file is gone".into(), ..End::complete(9) };
    line.send(Message::End(end));
    assert_eq!(hear.recv_timeout(PATIENCE).unwrap(), (ErrorCode::NO_INPUT, "the file is gone".to_owned()));
    assert_eq!(line.expect_reply().id, 9);
    drop(line);
}

#[test]
fn the_death_of_the_broker_ends_the_streams_of_a_method() {
    let (told, hear) = mpsc::channel();
    let service = Service::new("calc").stream(move |_: Sums, items, mut out, _| {
        told.send(items.last().unwrap().unwrap_err().code()).unwrap();
        told.send(out.send(&1).unwrap_err().code()).unwrap();
        Ok(0)
    });
    let (_door, _serving, line) = delivered_to(service);
    drop(line);
    assert_eq!([(); 2].map(|()| hear.recv_timeout(PATIENCE).unwrap()), [ErrorCode::BROKER_LOST; 2]);
}

#[test]
fn streams_that_do_not_fit_the_method_are_invalid() {
    let (_door, _serving, mut line) = started(sums());
    let mismatches =
        [("add", BOTH), ("sums", Streams::NONE), ("sums", Streams { request: true, reply: false })].into_iter();
    for (number, (method, streams)) in (1..).zip(mismatches) {
        line.send(call(number, method, streams));
        let failure = line.expect_error();
        assert_eq!((failure.id, failure.code), (number, ErrorCode::INVALID), "{method} with {streams:?}");
    }
    drop(line);
}

#[test]
fn any_method_takes_streams_of_bytes() {
    let service = Service::new("calc").any_stream(|incoming, items, mut out, _| {
        for item in items {
            let item = item?;
            out.send(item.encoding, item.body)?;
        }
        Ok(ipc_client::Response::bytes(incoming.method.clone()))
    });
    let (_door, _serving, mut line) = delivered_to(service);
    line.send_all([credit(9, true, 8), item(9, true, &5_i64), Message::End(End::complete(9))]);
    assert_eq!(line.expect_item::<i64>(), 5);
    assert_eq!(line.expect_reply().body, b"sums");
    drop(line);
}

#[test]
fn a_request_that_cannot_be_read_is_refused_before_any_credit() {
    let (_door, _serving, mut line) = started(sums());
    let unknown = Message::Call(Call { streams: BOTH, ..delivered(9, "sums", Encoding(9), Vec::new()) });
    line.send(unknown);
    let failure = line.expect_error();
    assert_eq!((failure.id, failure.code), (9, ErrorCode::UNSUPPORTED_ENCODING));
}

#[test]
fn an_untyped_method_may_refuse_bincode_before_any_credit() {
    let refuse =
        |encoding| Failed::<std::convert::Infallible>::new(ErrorCode::UNSUPPORTED_ENCODING, format!("not {encoding}"));
    let service = Service::new("calc").any_stream(move |incoming, mut items, _, _| match incoming.encoding {
        Encoding::BINCODE if incoming.body.is_empty() => Err(refuse(incoming.encoding)),
        _ => Ok(items.next().unwrap()?),
    });
    let (_door, _serving, mut line) = started(service);
    line.send(call(9, "sums", BOTH));
    assert_eq!(line.expect_error().code, ErrorCode::UNSUPPORTED_ENCODING);
    line.send(Message::Call(Call { streams: BOTH, ..delivered(10, "sums", Encoding::BINCODE, vec![1]) }));
    assert_eq!(line.expect_credit().id, 10);
    line.send(item(10, true, &7_i64));
    assert_eq!(&line.expect_reply().body[..], &[14][..]);
}
