//! Events that the program doesn't take in time.

use ipc_client::{ErrorCode, Notice, Subscription, control::Keeping};

use crate::{
    common::{Line, told},
    next, next_event, started,
};

/// A subscription that keeps two events, and was sent four while the program waited for something else.
fn overrun(keeping: Keeping, topics: [&str; 4]) -> (Line, Subscription) {
    let (client, mut line) = Line::open_pair();
    let subscription = started(&mut line, 5, client.subscription("t.").policy(keeping).queue(2));
    let events = topics.into_iter().zip(1..).map(|(topic, sequence)| told(5, topic, sequence, ""));
    line.send_all(events.collect::<Vec<_>>());
    std::thread::scope(|scope| {
        let pinging = scope.spawn(|| client.ping().unwrap());
        line.expect_ping();
        pinging.join().unwrap();
    });
    (line, subscription)
}

#[test]
fn the_oldest_are_lost_and_told_before_the_next() {
    let (_line, mut subscription) = overrun(Keeping::DropOldest, ["t.x"; 4]);
    assert_eq!(next(&mut subscription), Notice::Gap(2));
    assert_eq!([(); 2].map(|()| next_event(&mut subscription).sequence), [Some(3), Some(4)]);
}

#[test]
fn the_newest_are_lost_and_told_behind_the_others() {
    let (_line, mut subscription) = overrun(Keeping::DropNewest, ["t.x"; 4]);
    assert_eq!([(); 2].map(|()| next_event(&mut subscription).sequence), [Some(1), Some(2)]);
    assert_eq!(next(&mut subscription), Notice::Gap(2));
}

#[test]
fn the_latest_of_each_topic_is_kept() {
    let (_line, mut subscription) = overrun(Keeping::Latest, ["t.x", "t.x", "t.y", "t.x"]);
    assert_eq!(next(&mut subscription), Notice::Gap(2));
    let sequences = [(); 2].map(|()| next_event(&mut subscription).sequence);
    assert_eq!(sequences, [Some(3), Some(4)]);
}

#[test]
fn a_subscription_that_may_lose_none_ends_behind_what_it_has() {
    let (mut line, mut subscription) = overrun(Keeping::Cut, ["t.x"; 4]);
    assert_eq!([(); 2].map(|()| next_event(&mut subscription).sequence), [Some(1), Some(2)]);
    let error = subscription.next().unwrap().unwrap_err();
    assert_eq!(error.code(), ErrorCode::BUSY);
    assert!(error.text().contains("2 events") && error.text().contains("t."), "{error}");
    assert!(subscription.next().is_none());
    assert_eq!(line.expect_unsubscribe(), 5);
}
