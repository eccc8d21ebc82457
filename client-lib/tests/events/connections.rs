//! Subscriptions whose connection is lost.

use std::{
    io::Write,
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
    time::Duration,
};

use ipc_client::{Client, ErrorCode, Notice};
use ipc_protocol::{Goodbye, Message};

use crate::{
    common::{ADD, Door, told},
    next, next_event, started, subscribed_at,
};

#[test]
fn a_subscription_comes_back_and_says_so_once() {
    let door = Door::open();
    let (_client, mut line, mut subscription) = subscribed_at(&door);
    line.send(told(5, "t.x", 1, ""));
    drop(line);
    assert_eq!(next_event(&mut subscription).sequence, Some(1)); // it had come before
    let _line = thread::scope(|scope| {
        let waiting = scope.spawn(|| next(&mut subscription));
        let mut line = door.accept();
        assert_eq!(line.expect_subscribe(9).pattern.as_str(), "t.");
        line.send(told(9, "t.x", 1, "again"));
        assert_eq!(waiting.join().unwrap(), Notice::Resumed);
        line
    });
    assert_eq!(&next_event(&mut subscription).body[..], b"again");
    assert_eq!(subscription.next_within(Duration::ZERO).unwrap(), None);
}

#[test]
fn a_subscription_goes_where_a_call_has_gone_before() {
    let door = Door::open();
    let (client, line, mut subscription) = subscribed_at(&door);
    drop(line);
    thread::scope(|scope| {
        let calling = scope.spawn(|| client.call(&ADD).unwrap());
        let mut line = door.accept();
        let call = line.expect_call();
        line.reply(call.id, &3_i64);
        assert_eq!(calling.join().unwrap(), 3);
        let waiting = scope.spawn(|| next(&mut subscription));
        line.expect_subscribe(1);
        assert_eq!(waiting.join().unwrap(), Notice::Resumed);
        assert!(!door.is_knocked_at());
    });
}

#[test]
fn all_subscriptions_of_a_client_come_back_on_one_connection() {
    let door = Door::open();
    let (client, mut line, first) = subscribed_at(&door);
    let second = started(&mut line, 6, client.subscription("u."));
    drop(line);
    thread::scope(|scope| {
        let waiting = [first, second].map(|mut subscription| {
            scope.spawn(move || {
                assert_eq!(next(&mut subscription), Notice::Resumed);
                subscription
            })
        });
        let mut line = door.accept();
        line.expect_subscribe(1);
        line.expect_subscribe(2);
        let _alive = waiting.map(|thread| thread.join().unwrap());
        assert!(!door.is_knocked_at());
    });
}

#[test]
fn a_broker_that_refuses_for_now_is_asked_again() {
    let door = Door::open();
    let (_client, line, mut subscription) = subscribed_at(&door);
    drop(line);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| next(&mut subscription));
        let mut line = door.accept();
        let call = line.expect_call();
        line.refuse(call.id, ErrorCode::BUSY, "too many");
        line.expect_subscribe(1);
        assert_eq!(waiting.join().unwrap(), Notice::Resumed);
    });
}

#[test]
fn a_broker_that_refuses_for_good_ends_the_subscription() {
    let door = Door::open();
    let (_client, line, mut subscription) = subscribed_at(&door);
    drop(line);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| (subscription.next(), subscription.next()));
        let mut line = door.accept();
        let call = line.expect_call();
        line.refuse(call.id, ErrorCode::DENIED, "not any more");
        let (last, none) = waiting.join().unwrap();
        assert_eq!(last.unwrap().unwrap_err().code(), ErrorCode::DENIED);
        assert!(none.is_none());
    });
}

#[test]
fn a_goodbye_is_followed_by_another_connection_as_well() {
    let door = Door::open();
    let (_client, mut line, mut subscription) = subscribed_at(&door);
    line.send(Message::Goodbye(Goodbye { code: ErrorCode::BUSY, text: "too slow".into() }));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| next(&mut subscription));
        door.accept().expect_subscribe(1);
        assert_eq!(waiting.join().unwrap(), Notice::Resumed);
    });
}

#[test]
fn a_wait_ends_in_time_while_there_is_no_broker() {
    let door = Door::open();
    let (_client, line, mut subscription) = subscribed_at(&door);
    drop((line, door));
    assert_eq!(subscription.next_within(Duration::from_millis(20)).unwrap(), None);
    let (stop, mut stopper) = UnixStream::pair().unwrap();
    stopper.write_all(b"!").unwrap();
    assert_eq!(subscription.next_or_interrupt(stop.as_fd()).unwrap_err().code(), ErrorCode::CANCELLED);
}

#[test]
fn the_first_attempt_is_refused_like_a_call() {
    let door = Door::open();
    let client = Client::connect_to(&door.address()).unwrap();
    thread::scope(|scope| {
        let starting = scope.spawn(|| client.subscribe("t.").unwrap_err());
        let mut line = door.accept();
        let call = line.expect_call();
        line.refuse(call.id, ErrorCode::DENIED, "not you");
        assert_eq!(starting.join().unwrap().code(), ErrorCode::DENIED);
    });
}

#[test]
fn a_subscription_that_nobody_waited_for_is_given_up_once_the_broker_agrees() {
    let door = Door::open();
    let (client, line, mut subscription) = subscribed_at(&door);
    drop(line);
    let mut line = loop {
        assert_eq!(subscription.next_within(Duration::from_millis(20)).unwrap(), None);
        if door.is_knocked_at() {
            break door.accept();
        }
    };
    let call = line.expect_call();
    drop(subscription);
    line.reply_json(call.id, &ipc_client::control::Subscribed { subscription: 3 });
    thread::scope(|scope| {
        let calling = scope.spawn(|| client.call(&ADD).unwrap());
        let next = line.expect_call();
        line.reply(next.id, &3_i64);
        assert_eq!(line.expect_unsubscribe(), 3);
        assert_eq!(calling.join().unwrap(), 3);
    });
}
