use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use bytes::Bytes;
use ipc_protocol::{Encoding, Goodbye, Routing};

use super::*;

fn call() -> Call {
    Call {
        id: 0,
        one_way: false,
        encoding: Encoding::BYTES,
        timeout_ms: 0,
        caller: Bytes::new(),
        routing: Routing::to("calc", "add").build(),
        body: Bytes::new().into(),
    }
}

fn goodbye() -> Vec<u8> {
    Message::Goodbye(Goodbye { code: ErrorCode::UNAVAILABLE, text: "stopping".into() }).to_vec()
}

#[test]
fn after_a_pause_a_goodbye_is_read_before_the_next_call_is_written() {
    let (ours, mut broker) = UnixStream::pair().unwrap();
    let connection = Connection::new(ours.into(), "here".into(), "test", Role::Caller);
    broker.write_all(&goodbye()).unwrap();
    let later = Instant::now() + Duration::from_secs(1);
    let until = later + Duration::from_secs(30);

    assert_eq!(connection.submit(&mut call(), Departure::AtOnce, later, until).unwrap(), None);

    drop(connection);
    assert_eq!(broker.read(&mut [0; 1]).unwrap(), 0, "not a byte was written");
}

#[test]
fn a_crowd_of_calls_that_nobody_waits_for_is_read_back() {
    let (ours, mut broker) = UnixStream::pair().unwrap();
    let connection = Connection::new(ours.into(), "here".into(), "test", Role::Caller);
    broker.write_all(&goodbye()).unwrap();
    let now = Instant::now();
    let until = now + Duration::from_secs(30);
    let started = (0..=CROWD)
        .take_while(|_| connection.submit(&mut call(), Departure::AtOnce, now, until).unwrap().is_some())
        .count();
    assert_eq!(started, CROWD, "the goodbye was read then");
}
