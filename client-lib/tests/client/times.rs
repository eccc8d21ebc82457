//! Deadlines, and waiting in steps.

use std::{
    io::Write,
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
    time::Duration,
};

use ipc_client::{Encoding, ErrorCode, Retry};
use ipc_protocol::Message;

use crate::{
    common::{self, ADD, Door, Line},
    failed, request,
};

#[test]
fn a_call_that_names_no_time_has_the_default_of_the_broker() {
    let (client, mut line) = Line::pair();
    thread::scope(|scope| {
        let calling = scope.spawn(|| failed(client.call(&ADD)));
        line.greet_with(|welcome| welcome.call_default_ms = 50);
        line.expect_call();
        assert_eq!(line.expect_cancel().reason, ErrorCode::DEADLINE); // long before the usual 30 s
        assert_eq!(calling.join().unwrap().code(), ErrorCode::DEADLINE);
    });
}

#[test]
fn a_deadline_does_not_wait_for_the_connect_of_another_thread() {
    let door = Door::open();
    let (client, line) = door.open_client();
    let _crowd = door.crowd(); // the next connect waits
    drop(line);

    thread::scope(|scope| {
        let patient = scope.spawn(|| failed(client.call(&ADD)));
        let began = std::time::Instant::now();
        let hasty: Vec<_> =
            (0..2).map(|_| scope.spawn(|| failed(client.call_within(&ADD, Duration::from_millis(100))))).collect();
        for error in hasty.into_iter().map(|thread| thread.join().unwrap()) {
            assert_eq!((error.code(), error.retry()), (ErrorCode::UNAVAILABLE, Retry::Safe));
        }
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        assert_eq!(patient.join().unwrap().code(), ErrorCode::UNAVAILABLE);
    });
}

#[test]
fn a_deadline_that_the_broker_forgets_is_kept_here() {
    let (client, mut line) = Line::open_pair();
    let error = failed(client.call_within(&ADD, Duration::ZERO));
    assert_eq!((error.code(), error.retry()), (ErrorCode::DEADLINE, Retry::Unknown));
    assert_eq!(line.expect_call().timeout_ms, 1);
    assert_eq!(line.expect_cancel().reason, ErrorCode::DEADLINE);
}

#[test]
fn a_ping_has_a_time_of_its_own() {
    let (client, mut line) = Line::open_pair();
    let error = client.ping_within(Duration::from_millis(1)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::DEADLINE);
    assert!(matches!(line.next(), Message::Ping(_)));
}

#[test]
fn a_call_can_be_waited_for_in_steps() {
    let (client, mut line) = Line::open_pair();
    let pending = client.start_bytes(request()).unwrap();
    let std::ops::ControlFlow::Continue(pending) = pending.wait_for(Duration::from_millis(1)) else {
        panic!("it was not answered");
    };
    let call = line.expect_call();
    line.reply(call.id, &3_i64);
    assert_eq!(pending.wait().unwrap().encoding, Encoding::BINCODE);
}

#[test]
fn a_typed_call_can_be_waited_for_in_steps_and_interrupted() {
    let (client, mut line) = Line::open_pair();
    let pending = client.start(ADD).unwrap();
    let std::ops::ControlFlow::Continue(pending) = pending.wait_for(Duration::from_millis(1)) else {
        panic!("it was not answered");
    };
    let call = line.expect_call();
    line.refuse(call.id, ErrorCode::UNSUPPORTED_ENCODING, "json is taken");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| pending.wait_for(common::PATIENCE));
        let again = line.expect_call();
        line.reply_json(again.id, &3_i64);
        assert!(matches!(waiting.join().unwrap(), std::ops::ControlFlow::Break(Ok(3))));
    });

    let (stop, mut stopper) = UnixStream::pair().unwrap();
    let pending = client.start(ADD).unwrap();
    stopper.write_all(b"!").unwrap();
    assert_eq!(failed(pending.wait_or_interrupt(stop.as_fd())).code(), ErrorCode::CANCELLED);
}
