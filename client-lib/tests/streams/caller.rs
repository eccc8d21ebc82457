//! The caller's side.

use std::{thread, time::Duration};

use ipc_client::{CallError, Client, Encoding, ErrorCode, Request, Response, Retry, StreamCall};
use ipc_protocol::{Failure, Message};

use crate::{
    BOTH, Sums,
    common::{ADD, Door, Line},
    credit, item,
};

/// A call that the broker has received, and its number.
fn started() -> (Client, Line, StreamCall<Sums>, u64) {
    let (client, mut line) = Line::open_pair();
    let call = client.stream(&Sums).unwrap();
    let received = line.expect_call();
    assert_eq!(received.streams, BOTH);
    let allowed = line.expect_credit();
    assert_eq!((allowed.id, allowed.delivered, allowed.items, allowed.bytes), (received.id, false, 256, 256 * 1024));
    (client, line, call, received.id)
}

#[test]
fn items_go_both_ways_and_the_reply_comes_behind_them() {
    let (_client, mut line, mut call, id) = started();
    line.send(credit(id, false, 2));
    call.send(&1).unwrap();
    call.send(&2).unwrap();
    call.finish();
    assert_eq!((line.expect_item::<i64>(), line.expect_item::<i64>()), (1, 2));
    assert_eq!(line.expect_end_of(id).error, None);
    line.send_all([item(id, false, &1_i64), item(id, false, &3_i64)]);
    line.reply(id, &2_u32);
    assert_eq!(call.by_ref().collect::<Result<Vec<_>, _>>().unwrap(), [1, 3]);
    assert_eq!(call.end().unwrap(), 2);
    assert!(line.is_silent());
}

#[test]
fn an_item_waits_for_credit() {
    let (_client, mut line, mut call, id) = started();
    thread::scope(|scope| {
        let sending = scope.spawn(|| (1..=3).try_for_each(|number| call.send(&number)));
        line.send(credit(id, false, 1));
        assert_eq!(line.expect_item::<i64>(), 1);
        assert!(line.is_silent());
        line.send(credit(id, false, 2));
        assert_eq!((line.expect_item::<i64>(), line.expect_item::<i64>()), (2, 3));
        sending.join().unwrap().unwrap();
    });
}

#[test]
fn credit_is_given_as_items_are_taken_and_not_as_they_arrive() {
    let (client, mut line, mut call, id) = started();
    line.send_all((0..256).map(|number| item(id, false, &number)).collect::<Vec<Message>>());
    thread::scope(|scope| {
        let pinging = scope.spawn(|| client.ping().unwrap()); // which has read them all
        line.expect_ping();
        pinging.join().unwrap();
    });
    assert!(line.is_silent());
    assert_eq!(call.by_ref().take(128).map(Result::unwrap).sum::<i64>(), (0..128).sum::<i64>());
    assert_eq!(line.expect_credit().items, 128);
}

#[test]
fn two_threads_send_and_receive_at_once() {
    let (_client, mut line, call, id) = started();
    let (mut up, down) = call.split();
    thread::scope(|scope| {
        let sending = scope.spawn(move || {
            (1..=100).try_for_each(|number| up.send(&number)).unwrap();
            up.finish();
        });
        let receiving = scope.spawn(move || {
            let mut down = down;
            (down.by_ref().map(Result::unwrap).count(), down.end().unwrap())
        });
        for number in 1..=100_i64 {
            line.send_all([item(id, false, &number), credit(id, false, 1)]);
        }
        let mut received = 0;
        while received < 100 {
            match line.next() {
                Message::Item(_) => received += 1,
                Message::Credit(_) => {}
                other => panic!("{other:?}"),
            }
        }
        sending.join().unwrap();
        line.reply(id, &100_u32);
        assert_eq!(receiving.join().unwrap(), (100, 100));
    });
}

#[test]
fn an_error_in_the_middle_ends_both_directions_with_it() {
    let (_client, mut line, call, id) = started();
    let (mut up, mut down) = call.split();
    thread::scope(|scope| {
        let sending = scope.spawn(move || up.send(&1).unwrap_err());
        line.send(item(id, false, &1_i64));
        assert_eq!(down.next().unwrap().unwrap(), 1);
        let gone = Failure::new(id, ErrorCode::SERVICE_GONE, "the service has ended");
        line.send(Message::Error(Failure { delivered: Some(7), ..gone }));
        let error = down.next().unwrap().unwrap_err();
        assert_eq!((error.code(), error.delivered()), (ErrorCode::SERVICE_GONE, Some(7)));
        assert!(down.next().is_none());
        assert!(matches!(down.end(), Err(CallError::Failed(error)) if error.code() == ErrorCode::SERVICE_GONE));
        assert_eq!(sending.join().unwrap().code(), ErrorCode::SERVICE_GONE);
    });
}

#[test]
fn dropping_a_call_cancels_it_and_its_late_items_are_ignored() {
    let (client, mut line, call, id) = started();
    drop(call);
    assert_eq!(line.expect_end_of(id).error, Some(ErrorCode::CANCELLED));
    assert_eq!(line.expect_cancel().id, id);
    line.send_all([item(id, false, &1_i64), credit(id, false, 1)]);
    let pending = client.start(ADD).unwrap();
    let call = line.expect_call();
    line.reply(call.id, &3_i64);
    assert_eq!(pending.wait().unwrap(), 3);
}

#[test]
fn a_sender_that_is_dropped_unfinished_says_that_the_items_are_not_complete() {
    let (_client, mut line, call, id) = started();
    let (up, down) = call.split();
    drop(up);
    let end = line.expect_end_of(id);
    assert_eq!(end.error, Some(ErrorCode::CANCELLED));
    line.reply(id, &0_u32);
    assert_eq!(down.end().unwrap(), 0);
}

#[test]
fn a_service_that_answers_early_takes_no_more_items() {
    let (_client, mut line, mut call, id) = started();
    line.reply(id, &0_u32);
    let error = call.send(&1).unwrap_err();
    assert_eq!(error.code(), ErrorCode::CANCELLED);
    assert_eq!(call.end().unwrap(), 0);
}

#[test]
fn whoever_waits_shows_that_it_is_there() {
    let (client, mut line) = Line::open_pair();
    let mut call = client.stream_within(&Sums, Duration::from_millis(30)).unwrap();
    let id = line.expect_call().id;
    line.expect_credit();
    thread::scope(|scope| {
        let receiving = scope.spawn(|| call.next().unwrap().unwrap());
        let signs = [line.expect_credit(), line.expect_credit()];
        assert!(signs.iter().all(|sign| (sign.id, sign.items, sign.bytes) == (id, 0, 0)));
        line.send(item(id, false, &5_i64));
        assert_eq!(receiving.join().unwrap(), 5);
    });
}

#[test]
fn the_death_of_the_broker_ends_each_direction_once() {
    let door = Door::open();
    let (client, mut line) = door.open_client();
    let (mut up, mut down) = client.stream(&Sums).unwrap().split();
    line.expect_call();
    thread::scope(|scope| {
        let sending = scope.spawn(move || up.send(&1).unwrap_err());
        let receiving = scope.spawn(move || (down.next().unwrap().unwrap_err(), down.next().is_none()));
        drop(line);
        assert_eq!(sending.join().unwrap().code(), ErrorCode::BROKER_LOST);
        let (error, is_over) = receiving.join().unwrap();
        assert_eq!((error.code(), error.retry(), is_over), (ErrorCode::BROKER_LOST, Retry::Unknown, true));
    });
}

#[test]
fn items_of_bytes_come_as_they_are() {
    let (client, mut line) = Line::open_pair();
    let request = Request::new("calc.sums".parse().unwrap(), "x");
    let mut call = client.stream_bytes(request, BOTH).unwrap();
    let id = line.expect_call().id;
    line.expect_credit();
    assert!(call.next_within(Duration::ZERO).unwrap().is_none());
    line.send(item(id, false, &1_i64));
    let item = call.next_within(crate::common::PATIENCE).unwrap().unwrap().unwrap();
    assert_eq!(item, Response::new(ipc_client::Encoding::BINCODE, &[2][..]));
    line.reply(id, &1_u32);
    assert!(call.next_within(crate::common::PATIENCE).unwrap().unwrap().is_none());
    assert_eq!(&call.end().unwrap().body[..], [1]);
}

/// A service of another build says so.
fn refusal(id: u64) -> Message {
    Message::Error(Failure::new(id, ErrorCode::UNSUPPORTED_ENCODING, "built with other types"))
}

#[test]
fn an_item_that_waits_when_the_encoding_is_refused_goes_along_with_the_second_call() {
    let (_client, mut line, mut call, id) = started();
    thread::scope(|scope| {
        let sending = scope.spawn(|| (1..=2).try_for_each(|number| call.send(&number)));
        line.send(refusal(id));
        let second = line.expect_call();
        assert_eq!((second.encoding, second.streams), (Encoding::JSON, BOTH));
        assert_eq!(line.expect_credit().id, second.id);
        line.send(credit(second.id, false, 2));
        assert_eq!((line.expect_item::<i64>(), line.expect_item::<i64>()), (1, 2));
        sending.join().unwrap().unwrap();
        line.reply(second.id, &2_u32);
    });
    assert_eq!(call.end().unwrap(), 2);
}

#[test]
fn the_end_of_the_items_goes_along_with_the_second_call() {
    let (_client, mut line, mut call, id) = started();
    call.finish();
    line.expect_end_of(id);
    thread::scope(|scope| {
        let ending = scope.spawn(|| call.end());
        line.send(refusal(id));
        let second = line.expect_call();
        line.expect_credit();
        assert_eq!(line.expect_end_of(second.id).error, None);
        line.reply(second.id, &0_u32);
        assert_eq!(ending.join().unwrap().unwrap(), 0);
    });
}

#[test]
fn after_an_item_the_refusal_is_the_callers_and_the_next_call_is_in_json() {
    let (client, mut line, mut call, id) = started();
    line.send(credit(id, false, 1));
    call.send(&1).unwrap();
    line.expect_item::<i64>();
    line.send(refusal(id));
    let Some(Err(error)) = call.next() else { panic!("it goes on") };
    assert_eq!((error.code(), error.retry()), (ErrorCode::UNSUPPORTED_ENCODING, Retry::Safe));
    drop(call);
    let _next = client.stream(&Sums).unwrap();
    assert_eq!(line.expect_call().encoding, Encoding::JSON);
}

#[test]
fn a_service_that_refuses_json_as_well_is_not_asked_for_ever() {
    let (_client, mut line, call, id) = started();
    thread::scope(|scope| {
        let ending = scope.spawn(|| call.end());
        line.expect_end_of(id);
        line.send(refusal(id));
        let second = line.expect_call();
        line.send(refusal(second.id));
        let Err(CallError::Failed(error)) = ending.join().unwrap() else { panic!("not refused") };
        assert_eq!((error.code(), error.retry()), (ErrorCode::UNSUPPORTED_ENCODING, Retry::Safe));
    });
}
