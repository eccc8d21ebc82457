//! Subscriptions in a loop of the program's own.

use std::{thread, time::Duration};

use ipc_client::{
    Event, Notice, Watched,
    poll::{self, PollFlags},
};

use crate::{
    common::{ADD, Door, told, wait_for},
    subscribed, subscribed_at,
};

/// What a loop finds when its descriptor is readable.
fn round(watched: &mut Watched) -> Option<Notice> {
    wait_for(watched, PollFlags::IN);
    watched.next_within(Duration::ZERO).unwrap()
}

fn event_of_rounds(watched: &mut Watched) -> Event {
    loop {
        match round(watched) {
            Some(Notice::Event(event)) => return event,
            Some(other) => panic!("no event: {other:?}"),
            None => {}
        }
    }
}

fn is_readable(watched: &Watched) -> bool {
    poll::is_ready(watched, PollFlags::IN).unwrap()
}

#[test]
fn the_descriptor_tells_of_an_event_that_nobody_has_read() {
    let (_client, mut line, subscription) = subscribed();
    let mut watched = subscription.watched().unwrap();
    while round_is_spurious(&mut watched) {}
    line.send(told(5, "t.x", 1, ""));
    assert_eq!(event_of_rounds(&mut watched).sequence, Some(1));
}

/// A descriptor may tell too much once, and not for ever.
fn round_is_spurious(watched: &mut Watched) -> bool {
    assert_eq!(watched.next_within(Duration::ZERO).unwrap(), None);
    is_readable(watched)
}

#[test]
fn the_descriptor_tells_of_an_event_that_another_thread_has_read() {
    let (client, mut line, subscription) = subscribed();
    let mut watched = subscription.watched().unwrap();
    while round_is_spurious(&mut watched) {}
    let pending = client.start(ADD).unwrap();
    let call = line.expect_call();
    line.send_all([told(5, "t.x", 1, ""), told(5, "t.x", 2, "")]);
    line.reply(call.id, &3_i64);
    assert_eq!(pending.wait().unwrap(), 3);

    assert_eq!(event_of_rounds(&mut watched).sequence, Some(1));
    assert_eq!(event_of_rounds(&mut watched).sequence, Some(2)); // it stays readable for the second
    while round_is_spurious(&mut watched) {}
}

#[test]
fn the_descriptor_leads_through_a_reconnect() {
    let door = Door::open();
    let (_client, line, subscription) = subscribed_at(&door);
    let mut watched = subscription.watched().unwrap();
    drop(line);
    thread::scope(|scope| {
        let looping = scope.spawn(|| {
            let resumed = loop {
                if let Some(notice) = round(&mut watched) {
                    break notice;
                }
            };
            (resumed, event_of_rounds(&mut watched).sequence)
        });
        let mut line = door.accept();
        line.expect_subscribe(8);
        line.send(told(8, "t.x", 4, ""));
        assert_eq!(looping.join().unwrap(), (Notice::Resumed, Some(4)));
    });
}

#[test]
fn the_descriptor_tells_of_the_end() {
    let (_client, line, subscription) = subscribed();
    let mut watched = subscription.watched().unwrap();
    drop(line);
    let error = loop {
        wait_for(&watched, PollFlags::IN);
        if let Err(error) = watched.next_within(Duration::ZERO) {
            break error;
        }
    };
    assert_eq!(error.code(), ipc_client::ErrorCode::BROKER_LOST);
    assert!(is_readable(&watched));
}
