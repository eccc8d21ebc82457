//! Calls that are held back, to leave together.

use std::{os::unix::net::UnixStream, thread};

use ipc_client::{Client, ErrorCode, Retry};

use crate::{
    common::{self, ADD, Add, Line, Text},
    failed,
};

#[test]
fn corked_calls_leave_together() {
    let (client, mut line) = Line::open_pair();
    let corked = client.cork();
    let started: Vec<_> = (0..10).map(|a| client.start(Add { a, b: 0 }).unwrap()).collect();
    assert!(line.is_silent());
    drop(corked);
    assert_eq!(line.next_read().len(), 10);
    drop(started);
}

#[test]
fn corked_calls_leave_when_enough_have_gathered_or_a_thread_waits() {
    let (client, mut line) = Line::open_pair();
    let _corked = client.cork();
    let _long = client.start(Text("x".repeat(33 * 1024))).unwrap();
    assert_eq!(line.expect_call().routing.method(), b"text");

    let short = client.start(ADD).unwrap();
    assert!(line.is_silent());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| short.wait().unwrap());
        let call = line.expect_call();
        line.reply(call.id, &3_i64);
        assert_eq!(waiting.join().unwrap(), 3);
    });
}

#[test]
fn a_cork_lets_everything_go_even_if_the_socket_takes_it_in_pieces() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&theirs, 4_096).unwrap();
    let end = theirs.try_clone().unwrap();
    let (client, mut line) = (Client::from_fd(theirs.into()).unwrap(), Line::new(ours));
    thread::scope(|scope| {
        scope.spawn(|| {
            let corked = client.cork();
            let started: Vec<_> = (0..10)
                .map(|_| client.start(Text("x".repeat(3_000))).unwrap())
                .map(std::mem::ManuallyDrop::new)
                .collect();
            drop(corked);
            drop(started);
        });
        common::wait_until_full(&end);
        line.greet();
        (0..10).for_each(|_| drop(line.expect_call()));
    });
}

#[test]
fn a_cork_says_when_it_could_not_let_go() {
    let (client, line) = Line::open_pair();
    let corked = client.cork();
    let pending = client.start(ADD).unwrap();
    drop(line);
    let error = corked.flush().unwrap_err();
    assert_eq!(error.code(), ErrorCode::BROKER_LOST);
    assert_eq!(failed(pending.wait()).retry(), Retry::Safe);
}
