//! Calls that are cancelled, and calls that have to wait for their turn.

use std::sync::mpsc;

use ipc_client::{Encoding, ErrorCode, Retry, Service};

use crate::{
    common::{Door, PATIENCE, Text},
    start, stop,
};

#[test]
fn a_cancel_reaches_the_call_that_runs() {
    let door = Door::open();
    let (began, begun) = mpsc::channel();
    let service = Service::new("calc").method(move |_: Text, context| {
        let (told, hear) = mpsc::channel();
        context.cancel().on_cancel(move |reason| told.send(reason).unwrap());
        began.send(()).unwrap();
        assert!(context.cancel().wait(PATIENCE));
        Err(format!("stopped by {}", hear.recv_timeout(PATIENCE).unwrap()).into())
    });
    let (serving, mut line) = start(&door, service);
    line.deliver(1, Encoding::JSON, &Text(String::new()));
    begun.recv_timeout(PATIENCE).unwrap();
    line.cancel(1, ErrorCode::DEADLINE);
    assert_eq!(line.expect_error().text, "stopped by deadline");
    stop(serving, line);
}

#[test]
fn a_call_cancelled_before_its_turn_never_runs_and_is_answered() {
    let door = Door::open();
    let (began, begun) = mpsc::channel();
    let service = Service::new("calc").threads(1).window(2).method(move |text: Text, context| {
        began.send(text.0).unwrap();
        assert!(context.cancel().wait(PATIENCE));
        Ok(String::new())
    });
    let (serving, mut line) = start(&door, service);
    line.deliver(1, Encoding::JSON, &Text("first".into()));
    assert_eq!(begun.recv_timeout(PATIENCE).unwrap(), "first");
    line.deliver(2, Encoding::JSON, &Text("second".into()));
    line.cancel(2, ErrorCode::CANCELLED);
    line.cancel(1, ErrorCode::CANCELLED);
    assert_eq!(line.expect_reply().id, 1);
    let failure = line.expect_error();
    assert_eq!((failure.id, failure.code, failure.retry), (2, ErrorCode::CANCELLED, Retry::Safe));
    assert!(begun.try_recv().is_err());
    stop(serving, line);
}

#[test]
fn a_broker_that_overruns_the_window_receives_busy() {
    let door = Door::open();
    let (began, begun) = mpsc::channel();
    let service = Service::new("calc").threads(1).window(1).method(move |text: Text, context| {
        began.send(()).unwrap();
        assert!(context.cancel().wait(PATIENCE));
        Ok(text.0)
    });
    let (serving, mut line) = start(&door, service);
    for id in 1..=3 {
        line.deliver(id, Encoding::JSON, &Text(String::new()));
    }
    let failure = line.expect_error();
    assert_eq!((failure.id, failure.code, failure.retry), (3, ErrorCode::BUSY, Retry::Safe));
    begun.recv_timeout(PATIENCE).unwrap();
    line.cancel(2, ErrorCode::CANCELLED);
    line.cancel(1, ErrorCode::CANCELLED);
    assert_eq!(line.expect_reply().id, 1);
    assert_eq!(line.expect_error().id, 2);
    stop(serving, line);
}
