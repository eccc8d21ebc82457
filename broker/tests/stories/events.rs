//! Events: who receives what, in which order, and what is lost.

use ipc_protocol::{ErrorCode, Event, Message, Pattern, control, control::Keeping};

use crate::world::{OWNER, Peer, Request, World, subscription};

fn received(w: &mut World, peer: Peer) -> Vec<String> {
    w.take_events(peer)
}

#[test]
fn an_event_reaches_every_subscription_of_its_topic() {
    let mut w = World::new();
    let [publisher, one, two] = [(); 3].map(|()| w.peer(OWNER));
    w.subscribe(one, "home.*.temp");
    w.subscribe(two, "home.");
    w.subscribe(two, "other");

    w.publish(publisher, "home.cellar.temp", "8");
    w.publish(publisher, "home.door", "open");

    assert_eq!(received(&mut w, one), ["home.cellar.temp 8"]);
    assert_eq!(received(&mut w, two), ["home.cellar.temp 8", "home.door open"]);
    w.end();
}

#[test]
fn an_event_that_matches_two_subscriptions_of_a_peer_comes_once_for_each() {
    let mut w = World::new();
    let (publisher, both) = (w.peer(OWNER), w.peer(OWNER));
    let numbers = [w.subscribe(both, "a.b"), w.subscribe(both, "a.")];
    w.publish(publisher, "a.b", "x");
    let mut ids: Vec<_> = w.inbox(both).iter().filter_map(id_of_event).collect();
    ids.sort_unstable();
    assert_eq!(ids, numbers);
}

fn id_of_event(message: &Message) -> Option<u64> {
    match message {
        Message::Event(event) => Some(event.id),
        _ => None,
    }
}

#[test]
fn events_carry_their_publisher_and_its_number_for_them() {
    let mut w = World::new();
    let [publisher, other, subscriber] = [OWNER, 0, OWNER].map(|uid| w.peer(uid));
    w.subscribe(subscriber, "a");
    w.publish(publisher, "b", "to nobody");
    w.publish(publisher, "a", "second of the publisher");
    w.publish(other, "a", "first of the other");
    let events: Vec<_> = w.inbox(subscriber).iter().filter_map(publisher_of).collect();
    assert_eq!(events, [(OWNER, Some(2)), (0, Some(1))]);
}

fn publisher_of(message: &Message) -> Option<(u32, Option<u64>)> {
    let Message::Event(event) = message else { return None };
    let (identity, _) = ipc_protocol::Identity::from_stamp(&event.publisher).expect("it is stamped");
    Some((identity.uid, event.sequence()))
}

#[test]
fn a_publisher_is_told_how_many_took_it() {
    let mut w = World::new();
    let [publisher, one, two] = [(); 3].map(|()| w.peer(OWNER));
    w.subscribe(one, "a");
    w.subscribe(two, "a");
    let id = w.publish_as(publisher, "a", "x", |_| {});
    let nobody = w.publish_as(publisher, "b", "x", |_| {});
    assert_eq!(answer(&w, publisher, id), Ok(2));
    assert_eq!(answer(&w, publisher, nobody), Ok(0));
}

/// The answer to an event: the number of subscribers, or the error.
fn answer(w: &World, publisher: Peer, id: u64) -> Result<u32, ErrorCode> {
    let inbox = w.inbox(publisher);
    let answers = inbox.iter().filter_map(|message| match message {
        Message::Reply(reply) if reply.id == id => {
            Some(Ok(serde_json::from_slice::<control::Published>(&reply.body).expect("an answer").subscribers))
        }
        Message::Error(failure) if failure.id == id => Some(Err(failure.code)),
        _ => None,
    });
    let answers: Vec<_> = answers.collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers[0]
}

#[test]
fn an_event_is_seen_behind_the_answer_that_it_follows() {
    let mut w = World::new();
    let (service, client) = (w.service("counter"), w.peer(OWNER));
    w.subscribe(client, "counter.");
    w.publish(service, "counter.before", "");
    w.call(client, "counter", "", b"");
    w.reply_next(service, b"done");
    w.publish(service, "counter.after", "");
    let order: Vec<_> = w.inbox(client).iter().map(Message::kind).map(|kind| kind.to_string()).collect();
    assert_eq!(order[order.len() - 3..], ["event", "reply", "event"]);
}

#[test]
fn who_may_do_nothing_neither_publishes_nor_subscribes() {
    let mut w = World::new();
    let (stranger, subscriber) = (w.peer(1001), w.peer(OWNER));
    w.subscribe(subscriber, "a");
    let id = w.publish_as(stranger, "a", "x", |_| {});
    let again = w.publish_as(stranger, "a", "x", |event| event.one_way = true);
    let refused = w.make(stranger, Request::subscribe(&subscription("a")));
    w.expect_safe(refused, ErrorCode::DENIED);
    assert_eq!(answer(&w, stranger, id), Err(ErrorCode::DENIED));
    assert_eq!(answer(&w, stranger, again), Err(ErrorCode::DENIED));
    assert_eq!(received(&mut w, subscriber), [""; 0]);
}

#[test]
fn only_the_broker_publishes_on_its_topics() {
    let mut w = World::new();
    let publisher = w.peer(OWNER);
    let id = w.publish_as(publisher, "ipc.name.added", "{}", |_| {});
    assert_eq!(answer(&w, publisher, id), Err(ErrorCode::DENIED));
}

#[test]
fn a_bad_topic_is_refused_and_its_publisher_lives() {
    let mut w = World::new();
    let publisher = w.peer(OWNER);
    let id = w.publish_misnamed(publisher);
    assert_eq!(answer(&w, publisher, id), Err(ErrorCode::INVALID));
    assert!(w.is_open(publisher));
}

#[test]
fn an_event_by_datagram_has_no_number() {
    let mut w = World::new();
    let subscriber = w.peer(OWNER);
    w.subscribe(subscriber, "a");
    w.publish_datagram(OWNER, "a", "x");
    w.publish_datagram(1001, "a", "denied");
    let events: Vec<_> = w.inbox(subscriber).iter().filter_map(publisher_of).collect();
    assert_eq!(events, [(OWNER, None)]);
}

#[test]
fn the_forging_of_a_stamp_or_a_number_is_a_violation() {
    let forge: [fn(&mut Event); 2] = [
        |event| event.publisher = ipc_protocol::Identity::new(0, 0).stamp(None),
        |event| event.routing = event.routing.published(b"", Some(7)),
    ];
    for forge in forge {
        let mut w = World::new();
        let publisher = w.peer(OWNER);
        w.publish_as(publisher, "a", "x", forge);
        assert!(!w.is_open(publisher));
    }
}

#[test]
fn nothing_follows_the_end_of_a_subscription() {
    let mut w = World::new();
    let (publisher, subscriber) = (w.peer(OWNER), w.peer(OWNER));
    let number = w.subscribe(subscriber, "a");
    let ended = w.make(subscriber, Request::unsubscribe(number));
    w.expect_reply(ended);
    w.publish(publisher, "a", "x");
    assert_eq!(received(&mut w, subscriber), [""; 0]);
    let twice = w.make(subscriber, Request::unsubscribe(number));
    w.expect_safe(twice, ErrorCode::NO_SERVICE);
    w.end();
}

#[test]
fn a_subscriber_that_has_finished_sending_still_receives() {
    let mut w = World::new();
    let (publisher, subscriber) = (w.peer(OWNER), w.peer(OWNER));
    w.subscribe(subscriber, "a");
    w.end_sending(subscriber);
    w.publish(publisher, "a", "x");
    assert_eq!(received(&mut w, subscriber), ["a x"]);
}

// ---- losses

/// A publisher, and a subscriber of "a." with a queue of two that doesn't read from now on.
fn behind(w: &mut World, policy: Keeping) -> (Peer, Peer) {
    let (publisher, subscriber) = (w.peer(OWNER), w.peer(OWNER));
    w.subscribe_as(subscriber, &control::Subscribe { policy, queue: 2, ..subscription("a.") });
    w.pause_reading(subscriber);
    w.publish(publisher, "a.x", "first"); // the one that its socket leaves
    (publisher, subscriber)
}

#[test]
fn a_subscriber_that_is_behind_gets_the_newest_and_the_number_of_the_others() {
    let mut w = World::new();
    let (publisher, subscriber) = behind(&mut w, Keeping::DropOldest);
    (1..=5).for_each(|body| w.publish(publisher, "a.x", &body.to_string()));
    w.resume_reading(subscriber);
    assert_eq!(received(&mut w, subscriber), ["lost 4", "a.x 4", "a.x 5"]);
    w.publish(publisher, "a.x", "6");
    assert_eq!(received(&mut w, subscriber), ["a.x 6"]);
}

#[test]
fn the_number_of_the_lost_comes_even_if_nothing_follows() {
    let mut w = World::new();
    let (publisher, subscriber) = behind(&mut w, Keeping::DropNewest);
    (1..=5).for_each(|body| w.publish(publisher, "a.x", &body.to_string()));
    w.resume_reading(subscriber);
    assert_eq!(received(&mut w, subscriber), ["a.x first", "a.x 1", "lost 4"]);
}

#[test]
fn the_latest_event_of_each_topic_stays() {
    let mut w = World::new();
    let (publisher, subscriber) = behind(&mut w, Keeping::Latest);
    (1..=5).for_each(|body| w.publish(publisher, if body % 2 == 0 { "a.x" } else { "a.y" }, &body.to_string()));
    w.resume_reading(subscriber);
    assert_eq!(received(&mut w, subscriber), ["lost 4", "a.x 4", "a.y 5"]);
}

#[test]
fn a_subscriber_that_wants_all_and_is_behind_is_cut() {
    let mut w = World::new();
    let (publisher, subscriber) = behind(&mut w, Keeping::Cut);
    w.publish(publisher, "a.x", "second");
    assert!(w.is_open(subscriber));
    w.publish(publisher, "a.x", "third");
    assert!(!w.is_open(subscriber));
    assert!(w.goodbye(subscriber).text.contains("keep up"));
}

#[test]
fn others_receive_everything_meanwhile() {
    let mut w = World::new();
    let (publisher, _) = behind(&mut w, Keeping::DropOldest);
    let other = w.peer(OWNER);
    w.subscribe(other, "a.");
    (1..=50).for_each(|body| w.publish(publisher, "a.x", &body.to_string()));
    assert_eq!(received(&mut w, other).len(), 50);
}

#[test]
fn events_never_fill_what_is_kept_for_answers() {
    let mut w = World::with_limits(|limits| limits.bytes_per_uid = 2 << 20);
    let publisher = w.peer(0);
    let stopped: Vec<_> = (0..4).map(|_| behind(&mut w, Keeping::DropOldest).1).collect();
    let body = "x".repeat(100_000);
    (0..100).for_each(|_| w.publish(publisher, "a.big", &body));
    assert!(w.bytes_held() <= 3 << 19, "{} bytes", w.bytes_held());
    assert!(stopped.iter().all(|peer| w.is_open(*peer)));
    for peer in stopped {
        w.resume_reading(peer);
    }
    w.end();
}

#[test]
fn the_calls_of_a_subscriber_that_is_behind_go_on() {
    let mut w = World::new();
    let (publisher, subscriber) = behind(&mut w, Keeping::DropOldest);
    w.offer(subscriber, Some("slow"), 8);
    let body = "x".repeat(500_000);
    (0..9).for_each(|_| w.publish(publisher, "a.big", &body));
    let caller = w.peer(OWNER);
    let call = w.call(caller, "slow", "", b"");
    w.resume_reading(subscriber);
    w.reply_next(subscriber, b"still here");
    w.expect_reply(call);
}

// ---- kept events

fn keep(w: &mut World, publisher: Peer, topic: &str, body: &str) -> u64 {
    w.publish_as(publisher, topic, body, |event| event.retained = true)
}

fn last(pattern: &str) -> control::Subscribe {
    control::Subscribe { last: true, ..subscription(pattern) }
}

#[test]
fn who_asks_for_the_last_events_gets_them_first() {
    let mut w = World::new();
    let (publisher, subscriber) = (w.peer(OWNER), w.peer(OWNER));
    keep(&mut w, publisher, "home.door", "open");
    keep(&mut w, publisher, "home.temp", "20");
    keep(&mut w, publisher, "home.temp", "21");
    w.publish(publisher, "home.temp", "22, not kept");
    w.disconnect(publisher);
    w.subscribe_as(subscriber, &last("home."));
    assert_eq!(received(&mut w, subscriber), ["home.door open (kept)", "home.temp 21 (kept)"]);
    let another = w.peer(OWNER);
    w.subscribe(another, "home.");
    assert_eq!(received(&mut w, another), [""; 0]);
    w.end();
}

#[test]
fn an_event_is_received_as_it_is_published_and_not_as_a_kept_one() {
    let mut w = World::new();
    let (publisher, subscriber) = (w.peer(OWNER), w.peer(OWNER));
    w.subscribe_as(subscriber, &last("a"));
    keep(&mut w, publisher, "a", "x");
    assert_eq!(received(&mut w, subscriber), ["a x"]);
}

#[test]
fn an_empty_event_clears_its_topic() {
    let mut w = World::new();
    let (publisher, subscriber) = (w.peer(OWNER), w.peer(OWNER));
    keep(&mut w, publisher, "a", "x");
    keep(&mut w, publisher, "a", "");
    w.subscribe_as(subscriber, &last("a"));
    assert_eq!(received(&mut w, subscriber), [""; 0]);
    w.disconnect(publisher);
    w.disconnect(subscriber);
    assert_eq!(w.bytes_held(), 0);
}

#[test]
fn kept_events_come_as_they_are_read_and_older_ones_than_those_that_came_are_left_out() {
    let mut w = World::new();
    let (publisher, subscriber) = (w.peer(OWNER), w.peer(OWNER));
    let body = "x".repeat(40_000);
    ["a", "b", "c", "d"].iter().for_each(|topic| _ = keep(&mut w, publisher, &format!("t.{topic}"), &body));
    w.pause_reading(subscriber);
    w.make(subscriber, Request::subscribe(&last("t.")));
    w.publish(publisher, "t.d", "news");
    keep(&mut w, publisher, "t.e", "new topic");
    w.resume_reading(subscriber);
    let topics: Vec<_> = received(&mut w, subscriber).iter().map(|event| event[..3].to_owned()).collect();
    assert_eq!(topics, ["t.a", "t.b", "t.d", "t.e", "t.c"]);
}

#[test]
fn what_is_kept_is_limited_by_user() {
    let mut w = World::with_limits(|limits| limits.retained_bytes_per_uid = 2_000);
    let publisher = w.peer(OWNER);
    let body = "x".repeat(1_000);
    let first = keep(&mut w, publisher, "a", &body);
    let second = keep(&mut w, publisher, "b", &body);
    let in_its_place = keep(&mut w, publisher, "a", &body);
    assert_eq!([first, second, in_its_place].map(|id| answer(&w, publisher, id)), [Ok(0), Err(ErrorCode::BUSY), Ok(0)]);
}

#[test]
fn the_topics_that_are_kept_are_listed() {
    let mut w = World::new();
    let publisher = w.peer(OWNER);
    (0..40).for_each(|at| _ = keep(&mut w, publisher, &format!("t.n{at:02}"), "x"));
    let page = w.ask::<control::TopicPage>(publisher, "topics", &control::Topics::default());
    assert_eq!((page.topics.len(), page.topics[0].topic.as_str(), page.topics[0].bytes), (32, "t.n00", 1));
    let pattern = Some(Pattern::parse("t.").unwrap());
    let rest = w.ask::<control::TopicPage>(publisher, "topics", &control::Topics { pattern, after: page.next });
    assert_eq!((rest.topics.len(), rest.next), (8, None));
}

// ---- limits

#[test]
fn subscriptions_and_their_patterns_are_limited() {
    let mut w = World::with_limits(|limits| {
        limits.subscriptions_per_peer = 2;
        limits.pattern_bytes_per_peer = 10;
    });
    let peer = w.peer(OWNER);
    w.subscribe(peer, "a");
    let long = w.make(peer, Request::subscribe(&subscription("abcdefghij")));
    w.expect_safe(long, ErrorCode::BUSY);
    w.subscribe(peer, "b");
    let third = w.make(peer, Request::subscribe(&subscription("c")));
    w.expect_safe(third, ErrorCode::BUSY);
}

// ---- the broker's own events

fn own(w: &mut World) -> Peer {
    let watcher = w.peer(OWNER);
    w.subscribe(watcher, "ipc.");
    watcher
}

#[test]
fn names_and_peers_that_come_and_go_are_announced() {
    let mut w = World::new();
    let watcher = own(&mut w);
    let everything = w.peer(OWNER);
    w.subscribe(everything, "**");
    received(&mut w, watcher);
    let service = w.service("calc");
    w.disconnect(service);
    assert_eq!(
        received(&mut w, watcher),
        [
            r#"ipc.peer.connected {\"peer\":3,\"uid\":1000,\"pid\":4002}"#,
            r#"ipc.name.added {\"name\":\"calc\"}"#,
            r#"ipc.instance.added {\"name\":\"calc\",\"peer\":3}"#,
            r#"ipc.instance.removed {\"name\":\"calc\",\"peer\":3}"#,
            r#"ipc.name.removed {\"name\":\"calc\"}"#,
            r#"ipc.peer.gone {\"peer\":3,\"uid\":1000,\"pid\":4002}"#,
        ]
    );
    assert_eq!(received(&mut w, everything), [""; 0]);
}

#[test]
fn a_limit_that_is_reached_is_announced_once_a_second() {
    let mut w = World::with_limits(|limits| limits.names_per_peer = 1);
    let watcher = own(&mut w);
    let peer = w.service("a");
    received(&mut w, watcher);
    w.register(peer, Some("b"), 1);
    w.register(peer, Some("c"), 1);
    w.advance(1_000);
    w.register(peer, Some("d"), 1);
    let alarm = r#"ipc.limit.reached {\"limit\":\"names_per_peer\",\"uid\":1000}"#;
    assert_eq!(received(&mut w, watcher), [alarm, alarm]);
}
