//! Connections that are refused, break, or are made anew.

use std::thread;

use ipc_client::{CallError, Client, ErrorCode, PeerNumber, Retry};
use ipc_protocol::{Goodbye, Message};

use crate::{
    common::{ADD, Door, Line},
    failed,
};

#[test]
fn the_cause_of_an_error_can_be_asked_for() {
    use std::error::Error;
    let door = Door::open();
    let address = door.address();
    drop(door);
    let error = CallError::<String>::from(Client::connect_to(&address).unwrap_err());
    let cause = error.source().expect("connect(2) said why");
    assert_eq!(cause.downcast_ref::<std::io::Error>().unwrap().kind(), std::io::ErrorKind::NotFound);
    assert!(!error.to_string().contains("os error"), "{error}");
}

#[test]
fn without_a_broker_the_next_call_is_unavailable() {
    let door = Door::open();
    let client = Client::connect_to(&door.address()).unwrap();
    drop(door);
    let error = failed(client.call(&ADD));
    assert_eq!((error.code(), error.retry()), (ErrorCode::UNAVAILABLE, Retry::Safe));
}

#[test]
fn a_refused_connection_says_why() {
    let (client, mut line) = Line::pair();
    let pending = client.start(ADD).unwrap();
    line.send(Message::Goodbye(Goodbye { code: ErrorCode::DENIED, text: "not you".into() }));
    drop(line);
    let error = failed(pending.wait());
    assert_eq!((error.code(), error.retry()), (ErrorCode::DENIED, Retry::Safe));
    assert!(error.text().contains("not you"), "{error}");
}

#[test]
fn a_refusal_that_was_there_before_the_first_call_says_why_too() {
    let (client, mut line) = Line::pair();
    line.send(Message::Goodbye(Goodbye { code: ErrorCode::BUSY, text: "no place".into() }));
    drop(line);
    let error = failed(client.call(&ADD));
    assert_eq!((error.code(), error.retry()), (ErrorCode::BUSY, Retry::Safe));
}

#[test]
fn the_death_of_the_broker_ends_each_call_once() {
    let (client, mut line) = Line::open_pair();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| failed(client.call(&ADD)))).collect();
        for _ in 0..4 {
            line.expect_call();
        }
        drop(line);
        for error in threads.into_iter().map(|thread| thread.join().unwrap()) {
            assert_eq!((error.code(), error.retry()), (ErrorCode::BROKER_LOST, Retry::Unknown));
        }
    });
    let error = failed(client.call(&ADD));
    assert_eq!((error.code(), error.retry()), (ErrorCode::BROKER_LOST, Retry::Safe));
}

#[test]
fn what_came_before_the_end_is_still_taken() {
    let (client, mut line) = Line::open_pair();
    let pending = client.start(ADD).unwrap();
    let call = line.expect_call();
    line.reply(call.id, &3_i64);
    drop(line);
    let error = failed(client.call(&ADD));
    assert_eq!((error.code(), error.retry()), (ErrorCode::BROKER_LOST, Retry::Safe));
    assert_eq!(pending.wait().unwrap(), 3);
}

#[test]
fn garbage_ends_the_connection_and_is_called_so() {
    let (client, mut line) = Line::open_pair();
    let pending = client.start(ADD).unwrap();
    line.expect_call();
    line.send_raw(b"HTTP/1.1 400 Bad Request\r\n\r\n, and some more of it");
    let error = failed(pending.wait());
    assert_eq!((error.code(), error.retry()), (ErrorCode::BROKER_LOST, Retry::Unknown));
    assert!(error.text().contains("broke the protocol"), "{error}");
    assert!(matches!(line.next(), Message::Goodbye(goodbye) if goodbye.code == ErrorCode::PROTOCOL));
    line.expect_end();
}

/// The client's next call comes over a new connection, as the first one there.
fn a_call_makes_a_new_connection(door: &Door, client: &Client) {
    thread::scope(|scope| {
        let calling = scope.spawn(|| client.call(&ADD).unwrap());
        let mut line = door.accept();
        let call = line.expect_call();
        assert_eq!(call.id, 1);
        line.reply(call.id, &3_i64);
        assert_eq!(calling.join().unwrap(), 3);
    });
}

#[test]
fn a_dead_connection_is_made_anew_at_the_next_call() {
    let door = Door::open();
    let (client, line) = door.open_client();
    drop(line);

    a_call_makes_a_new_connection(&door, &client);
}

#[test]
fn threads_that_find_the_connection_dead_share_the_new_one() {
    let door = Door::open();
    let (client, line) = door.open_client();
    drop(line);

    thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| client.call(&ADD).unwrap())).collect();
        let mut line = door.accept();
        for _ in 0..8 {
            let call = line.expect_call();
            line.reply(call.id, &3_i64);
        }
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == 3));
        assert!(!door.is_knocked_at());
    });
}

#[test]
fn after_a_goodbye_the_next_call_goes_to_a_new_connection() {
    let door = Door::open();
    let (client, mut old) = door.open_client();
    // The connection stays open, as that of a broker that is about to go: only its goodbye says so.
    old.send(Message::Goodbye(Goodbye { code: ErrorCode::UNAVAILABLE, text: "stopping".into() }));
    let error = client.ping().unwrap_err();
    assert_eq!((error.code(), error.retry()), (ErrorCode::BROKER_LOST, Retry::Unknown));
    assert!(error.text().contains("stopping"), "{error}");

    a_call_makes_a_new_connection(&door, &client);
}

#[test]
fn a_call_that_may_have_run_is_never_sent_again() {
    let door = Door::open();
    let client = Client::connect_to(&door.address()).unwrap();
    thread::scope(|scope| {
        let calling = scope.spawn(|| failed(client.call(&ADD)));
        let mut line = door.accept();
        line.expect_call();
        drop(line);
        let error = calling.join().unwrap();
        assert_eq!((error.code(), error.retry()), (ErrorCode::BROKER_LOST, Retry::Unknown));
    });
    assert!(!door.is_knocked_at());
}

#[test]
fn the_own_number_is_asked_for_when_it_is_not_known() {
    let (client, mut line) = Line::pair();
    thread::scope(|scope| {
        let asking = scope.spawn(|| client.peer());
        line.greet();
        line.expect_ping();
        assert_eq!(asking.join().unwrap().unwrap(), PeerNumber(42));
    });
    assert_eq!(client.peer().unwrap(), PeerNumber(42));
}
