//! Events in the Rust library, with a real broker.

use std::{borrow::Cow, sync::mpsc, thread, time::Duration};

use ipc_client::{
    Client, Datagram, ErrorCode, Notice, Publication, Subscription, Topic, control::Keeping, poll::PollFlags,
};
use ipc_tests::{broker::Broker, eventually::SOON};

/// The readings of one room.
struct Room(usize);

impl Topic for Room {
    type Event = u64;

    fn name(&self) -> Cow<'_, str> {
        format!("home.room{}.count", self.0).into()
    }
}

fn connect(broker: &Broker) -> Client {
    Client::connect_to(&broker.address()).unwrap()
}

fn next(subscription: &mut Subscription) -> Notice {
    subscription.next_within(SOON).unwrap().expect("nothing was told")
}

/// The numbers of the events that are told next, up to the first thing that is none.
fn numbers(subscription: &mut Subscription, count: usize) -> Vec<u64> {
    let number = |_| match next(subscription) {
        Notice::Event(event) => event.decode::<u64>().unwrap(),
        other => panic!("no event: {other:?}"),
    };
    (0..count).map(number).collect()
}

#[test]
fn each_subscription_receives_the_events_of_its_topics_in_order() {
    let broker = Broker::start();
    let (publisher, subscriber) = (connect(&broker), connect(&broker));
    let mut all = subscriber.subscribe("home.").unwrap();
    let mut one = subscriber.subscribe(Room(2).name()).unwrap();
    for number in 0..100 {
        assert_eq!(publisher.publish(&Room(1), &number).unwrap(), 1);
        assert_eq!(publisher.publish(&Room(2), &number).unwrap(), 2);
    }
    assert_eq!(numbers(&mut one, 100), (0..100).collect::<Vec<_>>());
    assert_eq!(numbers(&mut all, 200), (0..100).flat_map(|number| [number, number]).collect::<Vec<_>>());
    drop(one);
    subscriber.ping().unwrap(); // the broker has read that it is over
    assert_eq!(publisher.publish(&Room(2), &0).unwrap(), 1);
}

#[test]
fn an_event_says_who_has_published_it() {
    let broker = Broker::start();
    let (publisher, subscriber) = (connect(&broker), connect(&broker));
    let mut subscription = subscriber.subscribe("home.").unwrap();
    publisher.announce(&Room(1), &7).unwrap();
    let Notice::Event(event) = next(&mut subscription) else { panic!("no event") };
    let publisher_is = event.publisher.unwrap();
    assert_eq!(publisher_is.peer, Some(publisher.peer().unwrap()));
    assert_eq!(publisher_is.identity.pid, Some(std::process::id()));
    assert_eq!((event.sequence, event.retained), (Some(1), false));

    Datagram::connect_to(&broker.address()).unwrap().publish(&Room(1), &8).unwrap();
    let Notice::Event(event) = next(&mut subscription) else { panic!("no event") };
    assert_eq!((event.decode::<u64>().unwrap(), event.sequence), (8, None));
}

#[test]
fn the_last_event_of_a_topic_is_there_for_those_who_come_later_until_it_is_cleared() {
    let broker = Broker::start();
    let client = connect(&broker);
    client.retain(&Room(1), &7).unwrap();
    let Notice::Event(event) = next(&mut client.subscription("home.").last().start().unwrap()) else {
        panic!("no event")
    };
    assert_eq!((event.decode::<u64>().unwrap(), event.retained), (7, true));
    client.clear(&Room(1)).unwrap();
    let mut later = client.subscription("home.").last().start().unwrap();
    client.publish(&Room(1), &8).unwrap();
    assert_eq!(numbers(&mut later, 1), [8]);
}

#[test]
fn what_a_program_does_not_take_is_counted_exactly() {
    let broker = Broker::start();
    let client = connect(&broker);
    let mut subscription = client.subscription("home.").queue(10).start().unwrap();
    (0..1_000).for_each(|number| client.announce(&Room(1), &number).unwrap());
    client.ping().unwrap();
    let (mut taken, mut lost, mut last) = (0, 0, None);
    while last != Some(999) {
        match next(&mut subscription) {
            Notice::Event(event) => {
                let number = event.decode::<u64>().unwrap();
                assert!(last < Some(number), "{number} after {last:?}");
                (taken, last) = (taken + 1, Some(number));
            }
            Notice::Gap(gap) => lost += gap,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(taken + lost, 1_000);
    assert!(taken >= 10 && lost > 0, "{taken} taken, {lost} lost");
}

#[test]
fn the_latest_value_of_each_topic_is_kept() {
    let broker = Broker::start();
    let client = connect(&broker);
    let mut subscription = client.subscription("home.").policy(Keeping::Latest).start().unwrap();
    for number in 0..100 {
        (0..10).for_each(|room| client.announce(&Room(room), &number).unwrap());
    }
    client.ping().unwrap();
    let mut newest = [None; 10];
    while newest.iter().any(|number| *number != Some(99)) {
        if let Notice::Event(event) = next(&mut subscription) {
            let room = event.topic.as_str().as_bytes()[9] - b'0';
            newest[usize::from(room)] = Some(event.decode::<u64>().unwrap());
        }
    }
}

#[test]
fn fifty_subscriptions_come_back_with_the_broker_and_say_so_once() {
    let mut broker = Broker::in_process("");
    let (ready, is_ready) = mpsc::channel();
    let threads: Vec<_> = (0..50)
        .map(|_| {
            let (client, ready) = (connect(&broker), ready.clone());
            thread::spawn(move || {
                let mut subscription = client.subscribe("home.").unwrap();
                ready.send(()).unwrap();
                assert_eq!(next(&mut subscription), Notice::Resumed);
                ready.send(()).unwrap();
                numbers(&mut subscription, 3)
            })
        })
        .collect();
    (0..50).for_each(|_| is_ready.recv_timeout(SOON).unwrap());
    broker.restart();
    (0..50).for_each(|_| is_ready.recv_timeout(SOON).unwrap());
    let publisher = connect(&broker);
    for number in 1..=3 {
        assert_eq!(publisher.publish(&Room(1), &number).unwrap(), 50);
    }
    assert!(threads.into_iter().all(|thread| thread.join().unwrap() == [1, 2, 3]));
}

#[test]
fn a_loop_waits_for_two_subscriptions_at_once() {
    let broker = Broker::start();
    let (client, publisher) = (connect(&broker), connect(&broker));
    let watched = |pattern: &str| client.subscribe(pattern).unwrap().watched().unwrap();
    let mut loops = [watched("home.room1."), watched("home.room2.")];
    for number in 0..25 {
        [1, 2].iter().for_each(|room| publisher.announce(&Room(*room), &number).unwrap());
    }
    let mut seen = [0, 0];
    while seen != [25, 25] {
        let mut fds = loops.each_ref().map(|watched| ipc_client::poll::PollFd::new(watched, PollFlags::IN));
        let until = std::time::Instant::now() + SOON;
        assert!(ipc_client::poll::wait(&mut fds, Some(until)).unwrap() > 0, "{seen:?}");
        for (watched, seen) in loops.iter_mut().zip(&mut seen) {
            while let Some(Notice::Event(_)) = watched.next_within(Duration::ZERO).unwrap() {
                *seen += 1;
            }
        }
    }
}

#[test]
fn only_the_broker_publishes_on_its_own_topics() {
    let broker = Broker::start();
    let client = connect(&broker);
    let mut names = client.subscribe("ipc.name.*").unwrap();
    let own = Publication::new("ipc.name.added".parse().unwrap(), "{}");
    assert_eq!(client.publish_bytes(&own).unwrap_err().code(), ErrorCode::DENIED);
    let _service = ipc_client::Service::new("calc")
        .address(&broker.address())
        .any(|_, _| Err(ipc_client::Failed::busy("")))
        .start();
    let Notice::Event(event) = next(&mut names) else { panic!("no event") };
    assert_eq!((event.topic.as_str(), &event.publisher), ("ipc.name.added", &None));
    assert_eq!(event.decode::<ipc_client::control::NameEvent>().unwrap().name.as_str(), "calc");
}
