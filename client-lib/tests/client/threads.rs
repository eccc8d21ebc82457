//! One client and many threads: who reads, who waits, who is interrupted.

use std::{
    io::Write,
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
};

use ipc_client::ErrorCode;
use ipc_protocol::codec;

use crate::{
    common::{ADD, Add, Line, Text},
    request,
};

#[test]
fn each_thread_gets_its_own_reply_whatever_the_order() {
    let (client, mut line) = Line::open_pair();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..8).map(|a| (a, client.clone())).collect();
        let threads: Vec<_> = callers
            .into_iter()
            .map(|(a, client)| scope.spawn(move || (a, client.call(&Add { a, b: 100 }).unwrap())))
            .collect();
        let mut calls: Vec<_> = (0..8).map(|_| line.expect_call()).collect();
        calls.reverse();
        for call in calls {
            let add: Add = codec::decode(call.encoding, &call.body).unwrap();
            line.reply(call.id, &(add.a + add.b));
        }
        for (a, sum) in threads.into_iter().map(|thread| thread.join().unwrap()) {
            assert_eq!(sum, a + 100);
        }
    });
}

#[test]
fn who_has_its_reply_leaves_the_reading_to_another() {
    let (client, mut line) = Line::open_pair();
    thread::scope(|scope| {
        let first = scope.spawn(|| client.call(&ADD).unwrap());
        let first_call = line.expect_call();
        let second = scope.spawn(|| client.call(&ADD).unwrap());
        let second_call = line.expect_call();

        line.reply(first_call.id, &1_i64);
        assert_eq!(first.join().unwrap(), 1);
        line.reply(second_call.id, &2_i64);
        assert_eq!(second.join().unwrap(), 2);
    });
}

#[test]
fn the_reading_passes_on_when_the_reader_gives_up() {
    let (client, mut line) = Line::open_pair();
    let (stop, mut stopper) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        let reader = scope.spawn(|| client.start_bytes(request()).unwrap().wait_or_interrupt(stop.as_fd()));
        line.expect_call();
        let waiting = scope.spawn(|| client.call(&ADD).unwrap());
        let call = line.expect_call();

        stopper.write_all(b"!").unwrap();
        assert_eq!(reader.join().unwrap().unwrap_err().code(), ErrorCode::CANCELLED);
        assert_eq!(line.expect_cancel().reason, ErrorCode::CANCELLED);
        line.reply(call.id, &3_i64);
        assert_eq!(waiting.join().unwrap(), 3);
    });
}

#[test]
fn a_thread_that_does_not_read_can_be_interrupted_too() {
    let (client, mut line) = Line::open_pair();
    let (stop, mut stopper) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        let reader = scope.spawn(|| client.call(&ADD).unwrap());
        let read = line.expect_call();
        let waiting = scope.spawn(|| client.start_bytes(request()).unwrap().wait_or_interrupt(stop.as_fd()));
        let interrupted = line.expect_call();

        stopper.write_all(b"!").unwrap();
        assert_eq!(waiting.join().unwrap().unwrap_err().code(), ErrorCode::CANCELLED);
        assert_eq!(line.expect_cancel().id, interrupted.id);
        line.reply(read.id, &3_i64);
        assert_eq!(reader.join().unwrap(), 3);
    });
}

#[test]
fn many_threads_and_many_calls_lose_nothing() {
    let (client, mut line) = Line::open_pair();
    thread::scope(|scope| {
        for a in 0..16 {
            let client = client.clone();
            scope.spawn(move || {
                for b in 0..200 {
                    assert_eq!(client.call(&Add { a, b }).unwrap(), a * 1_000 + b);
                }
            });
        }
        for _ in 0..16 * 200 {
            let call = line.expect_call();
            let add: Add = codec::decode(call.encoding, &call.body).unwrap();
            line.reply(call.id, &(add.a * 1_000 + add.b));
        }
    });
}

#[test]
fn a_writer_that_is_stuck_goes_on_reading() {
    // The broker sends a long reply and reads nothing until it has left: the socket's buffers hold neither the reply nor the call.
    let (client, mut line) = Line::open_pair();
    let long = "x".repeat(1_000_000);
    let first = client.start(Text(String::new())).unwrap();
    let first_call = line.expect_call();
    thread::scope(|scope| {
        let writing = scope.spawn(|| client.start(Text(long.clone())).unwrap());
        line.reply(first_call.id, &long);
        let second_call = line.expect_call();
        line.reply(second_call.id, &"done");
        assert_eq!(writing.join().unwrap().wait().unwrap(), "done");
    });
    assert_eq!(first.wait().unwrap().len(), long.len());
}
