//! Events on their way to the program.

use std::{
    io::Write,
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
    time::Duration,
};

use ipc_client::{Encoding, ErrorCode, Notice, PeerNumber, control::Keeping};
use ipc_protocol::Message;

use crate::{
    common::{ADD, Line, event, told},
    next, next_event, started, subscribed,
};

#[test]
fn a_subscription_asks_for_what_it_was_told_to() {
    let (client, mut line) = Line::open_pair();
    thread::scope(|scope| {
        let subscribe = client.subscription("a.*.b").policy(Keeping::Latest).queue(7).last();
        let starting = scope.spawn(|| subscribe.start().unwrap());
        let asked = line.expect_subscribe(1);
        assert_eq!(asked.pattern.as_str(), "a.*.b");
        assert_eq!((asked.policy, asked.queue, asked.last), (Keeping::Latest, 7, true));
        assert_eq!(starting.join().unwrap().pattern().as_str(), "a.*.b");
    });
}

#[test]
fn a_pattern_that_is_none_is_misuse() {
    let (client, line) = Line::open_pair();
    let error = client.subscribe("no good").unwrap_err();
    assert_eq!(error.code(), ErrorCode::USAGE);
    assert!(line.is_silent());
}

#[test]
fn an_event_says_what_who_and_which() {
    let (_client, mut line, mut subscription) = subscribed();
    line.send(told(5, "t.x", 3, "hello"));
    let event = next_event(&mut subscription);
    assert_eq!((event.topic.as_str(), event.sequence, &event.body[..]), ("t.x", Some(3), &b"hello"[..]));
    assert_eq!((event.encoding, event.retained), (Encoding::BYTES, false));
    let publisher = event.publisher.unwrap();
    assert_eq!((publisher.identity.uid, publisher.peer), (1_000, Some(PeerNumber(7))));
}

#[test]
fn an_event_of_the_broker_has_no_publisher() {
    let (_client, mut line, mut subscription) = subscribed();
    let own = ipc_protocol::Event { publisher: bytes::Bytes::new(), ..event(5, "ipc.name.added", 1, "{}") };
    line.send_all([told(5, "t", 1, ""), Message::Event(own), told(5, "t", 2, "")]);
    let publishers = [(); 3].map(|()| next_event(&mut subscription).publisher.is_some());
    assert_eq!(publishers, [true, false, true]);
}

#[test]
fn events_that_come_with_the_answer_are_told() {
    let (client, mut line) = Line::open_pair();
    thread::scope(|scope| {
        let starting = scope.spawn(|| client.subscribe("t.").unwrap());
        let call = line.expect_call();
        let body = bytes::Bytes::from_static(br#"{"subscription":5}"#).into();
        let reply = ipc_protocol::Reply { id: call.id, encoding: Encoding::JSON, body };
        line.send_all([Message::Reply(reply), told(5, "t.a", 1, "1"), told(5, "t.a", 2, "2")]);
        let mut subscription = starting.join().unwrap();
        assert_eq!([(); 2].map(|()| next_event(&mut subscription).sequence), [Some(1), Some(2)]);
    });
}

#[test]
fn an_event_is_read_as_json_bytes_or_bincode() {
    let (_client, mut line, mut subscription) = subscribed();
    let encoded = [(Encoding::JSON, b"21".to_vec()), (Encoding::BYTES, b"21".to_vec()), (Encoding::BINCODE, vec![42])];
    for (encoding, body) in encoded {
        line.send(Message::Event(ipc_protocol::Event { encoding, ..event(5, "t.x", 1, body) }));
        assert_eq!(next_event(&mut subscription).decode::<i64>().unwrap(), 21);
    }
    line.send(told(5, "t.x", 1, "warm"));
    let error = next_event(&mut subscription).decode::<i64>().unwrap_err();
    assert_eq!(error.code(), ErrorCode::INVALID);
    assert!(error.text().contains("t.x"), "{error}");
}

#[test]
fn what_was_lost_is_told_in_its_place() {
    let (_client, mut line, mut subscription) = subscribed();
    let gap = ipc_protocol::Gap { id: 5, lost: 3 };
    line.send_all([told(5, "t.x", 1, ""), Message::Gap(gap), told(5, "t.x", 5, "")]);
    assert_eq!(next_event(&mut subscription).sequence, Some(1));
    assert_eq!(next(&mut subscription), Notice::Gap(3));
    assert_eq!(next_event(&mut subscription).sequence, Some(5));
}

#[test]
fn a_wait_ends_with_its_time() {
    let (_client, mut line, mut subscription) = subscribed();
    assert_eq!(subscription.next_within(Duration::from_millis(1)).unwrap(), None);
    line.send(told(5, "t.x", 1, ""));
    assert_eq!(next_event(&mut subscription).sequence, Some(1));
}

#[test]
fn a_wait_is_interrupted_and_the_subscription_lives_on() {
    let (_client, mut line, mut subscription) = subscribed();
    let (stop, mut stopper) = UnixStream::pair().unwrap();
    stopper.write_all(b"!").unwrap();
    let error = subscription.next_or_interrupt(stop.as_fd()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::CANCELLED);
    line.send(told(5, "t.x", 1, ""));
    assert_eq!(next_event(&mut subscription).sequence, Some(1));
}

#[test]
fn a_thread_that_waits_for_an_event_reads_the_reply_of_another() {
    let (client, mut line, mut subscription) = subscribed();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| next_event(&mut subscription).sequence);
        let calling = scope.spawn(|| client.call(&ADD).unwrap());
        let call = line.expect_call();
        line.reply(call.id, &3_i64);
        assert_eq!(calling.join().unwrap(), 3);
        line.send(told(5, "t.x", 1, ""));
        assert_eq!(waiting.join().unwrap(), Some(1));
    });
}

#[test]
fn a_call_that_is_waited_for_keeps_the_events_that_come_before_its_reply() {
    let (client, mut line, mut subscription) = subscribed();
    let pending = client.start(ADD).unwrap();
    let call = line.expect_call();
    line.send_all([told(5, "t.x", 1, ""), told(5, "t.x", 2, "")]);
    line.reply(call.id, &3_i64);
    assert_eq!(pending.wait().unwrap(), 3);
    drop(line); // they are here already
    assert_eq!([(); 2].map(|()| next_event(&mut subscription).sequence), [Some(1), Some(2)]);
}

#[test]
fn many_subscriptions_of_one_client_are_waited_for_by_a_thread_each() {
    let (client, mut line) = Line::open_pair();
    let subscriptions: Vec<_> = (1..=8).map(|number| started(&mut line, number, client.subscription("t."))).collect();
    thread::scope(|scope| {
        let threads: Vec<_> = subscriptions
            .into_iter()
            .map(|mut subscription| {
                scope.spawn(move || (0..100).map(|_| next_event(&mut subscription).sequence).collect::<Vec<_>>())
            })
            .collect();
        for sequence in 1..=100 {
            line.send_all((1..=8).rev().map(|number| told(number, "t.x", sequence, "")));
        }
        let wanted: Vec<_> = (1..=100).map(Some).collect();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == wanted));
        for _ in 1..=8 {
            line.expect_unsubscribe();
        }
    });
}

#[test]
fn dropping_a_subscription_tells_the_broker_and_its_late_events_are_ignored() {
    let (client, mut line, subscription) = subscribed();
    drop(subscription);
    assert_eq!(line.expect_unsubscribe(), 5);
    let mut other = started(&mut line, 6, client.subscription("t."));
    line.send_all([told(5, "t.x", 1, ""), told(6, "t.x", 2, "")]);
    assert_eq!(next_event(&mut other).sequence, Some(2));
    assert_eq!(other.next_within(Duration::ZERO).unwrap(), None);
}

#[test]
fn an_iterator_takes_event_after_event() {
    let (_client, mut line, subscription) = subscribed();
    line.send_all((1..=3).map(|sequence| told(5, "t.x", sequence, "")));
    drop(line);
    let notices: Vec<_> = subscription.collect();
    assert_eq!(notices.len(), 4);
    let last = notices.into_iter().next_back().unwrap();
    assert_eq!(last.unwrap_err().code(), ErrorCode::BROKER_LOST); // a given descriptor is never made anew
}

#[test]
fn an_event_over_the_limit_is_counted_as_lost() {
    let (_client, mut line, mut subscription) = subscribed();
    let header = ipc_protocol::Header {
        body_len: ipc_client::limits::MAX_BODY + 1,
        ..ipc_protocol::Header::new(ipc_protocol::Kind::EVENT, 5)
    };
    thread::scope(|scope| {
        let waiting = scope.spawn(|| next(&mut subscription));
        line.send_raw(&header.to_bytes());
        assert_eq!(waiting.join().unwrap(), Notice::Gap(1));
    });
}
