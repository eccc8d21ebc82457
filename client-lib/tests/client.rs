//! The client against a broker that follows a script.
#![forbid(unsafe_code)]

mod common;

use std::{
    io::Write,
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
    time::Duration,
};

use bytes::Bytes;
use common::{Add, Door, Line, Text, TooLarge};
use ipc_client::{CallError, Client, Encoding, ErrorCode, PeerNumber, Request, Response, Retry, Target, control};
use ipc_protocol::{Failure, Goodbye, Message, Reply, codec};

const ADD: Add = Add { a: 1, b: 2 };

fn request() -> Request {
    Request::new(Target::parse("calc.add").unwrap(), "1 2")
}

fn failed<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, CallError<E>>) -> ipc_client::Error {
    match result {
        Err(CallError::Failed(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn hello_and_the_first_call_leave_with_one_write() {
    let (client, mut line) = Line::pair();
    let _pending = client.start(&ADD).unwrap();
    assert!(matches!(&line.next_read()[..], [Message::Hello(_), Message::Call(call)] if call.id == 1));
}

#[test]
fn a_typed_call_travels_as_bincode() {
    let (client, mut line) = Line::open_pair();
    let pending = client.start(&ADD).unwrap();
    let call = line.expect_call();
    assert_eq!((call.routing.service(), call.routing.method()), (&b"calc"[..], &b"add"[..]));
    assert_eq!((call.encoding, &call.body[..], call.timeout_ms), (Encoding::BINCODE, &[2, 4][..], 0));
    line.reply(call.id, &3_i64);
    assert_eq!(pending.wait().unwrap(), 3);
}

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
fn dropping_a_call_cancels_it_and_its_late_reply_is_ignored() {
    let (client, mut line) = Line::open_pair();
    drop(client.start(&ADD).unwrap());
    let dropped = line.expect_call();
    assert_eq!(line.expect_cancel().id, dropped.id);
    line.reply(dropped.id, &99_i64);

    let next = client.start(&ADD).unwrap();
    let call = line.expect_call();
    line.reply(call.id, &3_i64);
    assert_eq!(next.wait().unwrap(), 3);
}

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

    let short = client.start(&ADD).unwrap();
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
    let pending = client.start(&ADD).unwrap();
    drop(line);
    let error = corked.flush().unwrap_err();
    assert_eq!(error.code(), ErrorCode::BROKER_LOST);
    assert_eq!(failed(pending.wait()).retry(), Retry::Safe);
}

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
    let client = Client::connect_to(&door.address()).unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| client.ping());
        let mut line = door.accept();
        line.expect_ping();
        first.join().unwrap().unwrap();
        let _crowd = door.crowd(); // the next connect waits
        drop(line);

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

/// `calc.text` as a caller has it that owns nothing.
#[derive(serde::Serialize)]
struct Borrowed<'a>(&'a str);

impl ipc_client::Method for Borrowed<'_> {
    const SERVICE: &'static str = "calc";
    const METHOD: &'static str = "text";
    type Reply = String;
    type Error = std::convert::Infallible;
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

#[test]
fn a_typed_call_can_be_told_without_an_answer() {
    let (client, mut line) = Line::open_pair();
    thread::scope(|scope| {
        let telling = scope.spawn(|| client.tell(&ADD));
        let call = line.expect_call();
        assert!(call.one_way);
        assert_eq!((call.encoding, &call.body[..]), (Encoding::JSON, &br#"{"a":1,"b":2}"#[..]));
        line.expect_ping();
        telling.join().unwrap().unwrap();
    });
}

#[test]
fn a_ping_has_a_time_of_its_own() {
    let (client, mut line) = Line::open_pair();
    let error = client.ping_within(Duration::from_millis(1)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::DEADLINE);
    assert!(matches!(line.next(), Message::Ping(_)));
}

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
fn an_application_error_is_its_own_type() {
    let (client, mut line) = Line::open_pair();
    let pending = client.start(&ADD).unwrap();
    let call = line.expect_call();
    let body = Bytes::from(codec::encode(Encoding::BINCODE, &TooLarge { a: 1, b: 2 }).unwrap());
    let failure = Failure::new(call.id, ErrorCode::APP_ERROR, "no");
    line.send(Message::Error(Failure { encoding: Encoding::BINCODE, body: body.into(), ..failure }));
    assert!(matches!(pending.wait(), Err(CallError::App(TooLarge { a: 1, b: 2 }))));
}

#[test]
fn an_application_error_without_a_value_keeps_its_text_and_code() {
    let (client, mut line) = Line::open_pair();
    let pending = client.start(&ADD).unwrap();
    let call = line.expect_call();
    let failure = Failure::new(call.id, ErrorCode::APP_ERROR, "the shell says no");
    line.send(Message::Error(Failure { app_code: 3, ..failure }));
    let error = failed(pending.wait());
    assert_eq!((error.code(), error.app_code(), error.text()), (ErrorCode::APP_ERROR, 3, "the shell says no"));
}

#[test]
fn a_service_that_takes_no_bincode_gets_json_from_then_on() {
    let (client, mut line) = Line::open_pair();
    thread::scope(|scope| {
        let pending = client.start(&ADD).unwrap();
        let waiting = scope.spawn(|| pending.wait().unwrap());
        let refused = line.expect_call();
        line.refuse(refused.id, ErrorCode::UNSUPPORTED_ENCODING, "json and bytes are taken");
        let again = line.expect_call();
        assert_eq!((again.encoding, &again.body[..]), (Encoding::JSON, &br#"{"a":1,"b":2}"#[..]));
        line.reply_json(again.id, &3_i64);
        assert_eq!(waiting.join().unwrap(), 3);
    });
    let _add = client.start(&ADD).unwrap();
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

#[test]
fn a_reply_of_another_type_has_run_all_the_same() {
    let (client, mut line) = Line::open_pair();
    let pending = client.start(&ADD).unwrap();
    let call = line.expect_call();
    line.reply_json(call.id, &"three");
    let error = failed(pending.wait());
    assert_eq!((error.code(), error.retry()), (ErrorCode::PROTOCOL, Retry::Unknown));
    assert!(error.text().contains("calc.add"), "{error}");
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

#[test]
fn control_speaks_json_to_the_broker_itself() {
    let (client, mut line) = Line::open_pair();
    thread::scope(|scope| {
        let asking = scope.spawn(|| client.control::<_, control::Names>("list", &control::List::default(), None));
        let call = line.expect_call();
        assert_eq!((call.routing.service(), call.routing.method()), (&b"ipc"[..], &b"list"[..]));
        assert_eq!(call.encoding, Encoding::JSON);
        line.reply_json(call.id, &control::Names { names: Vec::new(), next: None });
        assert!(asking.join().unwrap().unwrap().names.is_empty());
    });
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

#[test]
fn a_body_over_the_limit_stays_here() {
    let (client, line) = Line::open_pair();
    let error = client.call_bytes(Request::new(request().target, vec![0; (1 << 20) + 1])).unwrap_err();
    assert_eq!((error.code(), error.retry()), (ErrorCode::TOO_LARGE, Retry::Safe));
    assert!(line.is_silent());
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
    let pending = client.start(&ADD).unwrap();
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
    let pending = client.start(&ADD).unwrap();
    line.expect_call();
    line.send_raw(b"HTTP/1.1 400 Bad Request\r\n\r\n, and some more of it");
    let error = failed(pending.wait());
    assert_eq!((error.code(), error.retry()), (ErrorCode::BROKER_LOST, Retry::Unknown));
    assert!(error.text().contains("broke the protocol"), "{error}");
    assert!(matches!(line.next(), Message::Goodbye(goodbye) if goodbye.code == ErrorCode::PROTOCOL));
    line.expect_end();
}

#[test]
fn answers_to_calls_that_were_never_made_are_ignored() {
    let (client, mut line) = Line::open_pair();
    let pending = client.start(&ADD).unwrap();
    let call = line.expect_call();
    line.refuse(u64::MAX, ErrorCode::INTERNAL, "who?");
    line.send(Message::Pong(call.id));
    line.cancel(call.id, ErrorCode::CANCELLED);
    line.send(Message::Ping(7));
    line.reply(call.id, &3_i64);
    line.reply(call.id, &4_i64);
    assert_eq!(pending.wait().unwrap(), 3);
    assert!(matches!(line.next(), Message::Pong(7)));
}

#[test]
fn a_call_to_a_process_that_offers_nothing_is_refused() {
    let (client, mut line) = Line::open_pair();
    let pending = client.start(&ADD).unwrap();
    let call = line.expect_call();
    line.deliver(1, Encoding::JSON, &ADD);
    line.reply(call.id, &3_i64);
    pending.wait().unwrap();
    assert_eq!(line.expect_error().code, ErrorCode::NO_METHOD);
}

#[test]
fn a_dead_connection_is_made_anew_at_the_next_call() {
    let door = Door::open();
    let client = Client::connect_to(&door.address()).unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| client.ping());
        let mut line = door.accept();
        line.expect_ping();
        first.join().unwrap().unwrap();
        drop(line);

        let second = scope.spawn(|| client.call(&ADD).unwrap());
        let mut line = door.accept();
        let call = line.expect_call();
        assert_eq!(call.id, 1);
        line.reply(call.id, &3_i64);
        assert_eq!(second.join().unwrap(), 3);
    });
}

#[test]
fn threads_that_find_the_connection_dead_share_the_new_one() {
    let door = Door::open();
    let client = Client::connect_to(&door.address()).unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| client.ping());
        let mut line = door.accept();
        line.expect_ping();
        first.join().unwrap().unwrap();
        drop(line);

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
    let client = Client::connect_to(&door.address()).unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| client.ping());
        let mut old = door.accept();
        old.expect_ping();
        first.join().unwrap().unwrap();
        // The connection stays open, as that of a broker that is about to go: only its goodbye says so.
        old.send(Message::Goodbye(Goodbye { code: ErrorCode::UNAVAILABLE, text: "stopping".into() }));
        let error = client.ping().unwrap_err();
        assert_eq!((error.code(), error.retry()), (ErrorCode::BROKER_LOST, Retry::Unknown));
        assert!(error.text().contains("stopping"), "{error}");

        let second = scope.spawn(|| client.call(&ADD).unwrap());
        let mut line = door.accept();
        let call = line.expect_call();
        line.reply(call.id, &3_i64);
        assert_eq!(second.join().unwrap(), 3);
    });
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
    let pending = client.start(&ADD).unwrap();
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
