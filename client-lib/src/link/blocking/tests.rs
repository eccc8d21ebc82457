use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use ipc_protocol::{Encoding, Goodbye, Message, Routing};

use super::*;
use crate::session::{CROWD, Payload, What, outgoing::Answer};

fn submit(connection: &Connection, now: Instant) -> Option<Serial> {
    let routing = Routing::to("calc", "add").build();
    let call = Outgoing {
        what: What::Call,
        routing: &routing,
        encoding: Encoding::BYTES,
        timeout_ms: 0,
        body: Payload::Borrowed(b""),
        answer: Answer::Wanted,
        parent: None,
    };
    connection.submit(&call, Departure::AtOnce, now).unwrap()
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

    assert_eq!(submit(&connection, later), None);

    drop(connection);
    assert_eq!(broker.read(&mut [0; 1]).unwrap(), 0, "not a byte was written");
}

#[test]
fn a_crowd_of_calls_that_are_not_waited_for_is_read_back() {
    let (ours, mut broker) = UnixStream::pair().unwrap();
    let connection = Connection::new(ours.into(), "here".into(), "test", Role::Caller);
    broker.write_all(&goodbye()).unwrap();
    let now = Instant::now();
    let started = (0..=CROWD).take_while(|_| submit(&connection, now).is_some()).count();
    assert_eq!(started, CROWD, "the goodbye was read then");
}
