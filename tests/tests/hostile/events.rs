//! Publishers and subscribers that mean harm: floods, patterns of every kind, and who never reads. And locks, taken by the thousand.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ipc_protocol::{
    Encoding, ErrorCode, Event, Message, Routing,
    control::{Empty, Subscribed},
};
use ipc_tests::{
    attack::{Attack, attack_for},
    broker::{Broker, STRANGER, is_root},
    eventually::until,
    peer::Peer,
    scene::Scene,
    siege::Siege,
};
use serde_json::json;

/// An event under a number, which must be greater than all before it.
fn event(id: u64, topic: &str, body: impl Into<Bytes>) -> Event {
    Event {
        id,
        one_way: true,
        retained: false,
        encoding: Encoding::BYTES,
        publisher: Bytes::new(),
        routing: Routing::on(topic).build(),
        body: body.into().into(),
    }
}

/// Publishes numbers, with a kilobyte of nothing behind each.
fn publish_numbers(publisher: &mut Peer, topic: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let body = [&number.to_le_bytes()[..], &[7; 1_000]].concat();
        publisher.send(&Message::Event(event(1 + number, topic, body)));
    }
    publisher.settle();
}

fn subscribe(peer: &mut Peer, pattern: &str) -> u64 {
    peer.ask::<_, Subscribed>("subscribe", &json!({ "pattern": pattern })).subscription
}

/// Reads events and gaps until the one with this number. Each must be where its number says. Returns how many were lost.
#[track_caller]
fn read_until(subscriber: &mut Peer, last: u64) -> u64 {
    let (mut next, mut lost) = (0, 0);
    while next <= last {
        match subscriber.receive() {
            Some(Message::Gap(gap)) => (next, lost) = (next + gap.lost, lost + gap.lost),
            Some(Message::Event(event)) => {
                assert_eq!(event.body[..8], next.to_le_bytes());
                next += 1;
            }
            other => panic!("{other:?} instead of event {next}"),
        }
    }
    lost
}

// ---- C1: subscribers that don't read

#[test]
fn c01_a_subscriber_that_stops_is_told_what_it_lost_and_one_that_reads_loses_nothing() {
    let mut scene = Scene::start();
    let [mut publisher, mut stopped, mut reader] = [(); 3].map(|()| Peer::connect(&scene.broker));
    subscribe(&mut stopped, "flood.");
    subscribe(&mut reader, "flood.");
    for batch in 0..50 {
        publish_numbers(&mut publisher, "flood.of.numbers", batch * 100..batch * 100 + 100);
        for number in batch * 100..batch * 100 + 100 {
            let Some(Message::Event(event)) = reader.receive() else { panic!("no event {number}") };
            assert_eq!(event.body[..8], number.to_le_bytes());
        }
        scene.bystanders_go_on();
    }
    assert!(scene.broker.stat("bytes_held") < 2 << 20, "{} bytes", scene.broker.stat("bytes_held"));

    assert!(read_until(&mut stopped, 4_999) > 3_000);

    drop((publisher, stopped, reader));
    scene.nothing_is_left();
}

#[test]
fn c01_subscribers_that_never_read_delay_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let mut publisher = Peer::connect(broker);
        let mut deaf: Vec<Peer> = (0..10).map(|_| Peer::connect(broker)).collect();
        let policies = ["drop-oldest", "drop-newest", "latest", "cut"].into_iter().cycle();
        for (peer, policy) in deaf.iter_mut().zip(policies) {
            let _: Subscribed = peer.ask("subscribe", &json!({ "pattern": "**", "policy": policy }));
        }
        publish_numbers(&mut publisher, "flood.of.numbers", 0..2_000);
    });
    siege.lift();
}

#[test]
fn c04_floods_of_events_subscriptions_locks_and_items_delay_no_peer() {
    use Attack::{Events, Items, Locks, StrayItems, Subscribes, UnreadEvents};
    for attack in [Events, UnreadEvents, Subscribes, Locks, Items, StrayItems] {
        let mut siege = Siege::lay();
        siege.endure(|broker| attack_for(attack, broker, 4));
        siege.lift();
    }
}

#[test]
fn c04_floods_of_another_user_delay_no_peer() {
    if !is_root() {
        return;
    }
    let mut siege = Siege::lay();
    for name in ["events", "unread-events", "subscribes", "locks", "items", "stray-items"] {
        siege.endure(|broker| {
            let crowd = broker.crowd(env!("CARGO_BIN_EXE_crowd"), "attack", 8).argument(name).user(STRANGER);
            let mut crowd = crowd.interactive().start();
            crowd.expect_output("attacking");
            until(Instant::now() + Duration::from_millis(100));
            crowd.end_input();
            assert_eq!(crowd.finish().code, 0);
        });
    }
    assert_eq!(siege.broker().stat("events_delivered"), 0, "a stranger may not publish");
    siege.lift();
}

// ---- B7: subscriptions, patterns and kept events

#[test]
fn b07_subscriptions_and_their_patterns_are_limited_and_leave_with_their_peer() {
    let mut scene = Scene::with_config("[limits]\nsubscriptions_per_peer = 20\npattern_bytes_per_peer = 300\n");
    let mut greedy = Peer::connect(&scene.broker);
    (0..20).for_each(|number| _ = subscribe(&mut greedy, &format!("a.{number}")));
    greedy.call("ipc.subscribe", r#"{"pattern":"one.more"}"#);
    let failure = greedy.failure();
    assert!(failure.code == ErrorCode::BUSY && failure.text.contains("20 subscriptions"), "{failure:?}");
    drop(greedy);

    let mut greedy = Peer::connect(&scene.broker);
    subscribe(&mut greedy, &"a".repeat(200));
    greedy.call("ipc.subscribe", format!(r#"{{"pattern":"{}"}}"#, "b".repeat(200)));
    let failure = greedy.failure();
    assert!(failure.code == ErrorCode::BUSY && failure.text.contains("300 bytes"), "{failure:?}");
    drop(greedy);
    scene.nothing_is_left();
}

#[test]
fn b07_what_is_no_pattern_is_refused() {
    let mut scene = Scene::start();
    let mut odd = Peer::connect(&scene.broker);
    let long = "a.".repeat(200);
    for pattern in ["", ".", "a..b", "**.a", "*a", "A", "a b", "\u{e4}", &long] {
        odd.call("ipc.subscribe", json!({ "pattern": pattern }).to_string());
        assert_eq!(odd.failure().code, ErrorCode::INVALID, "{pattern:?}");
    }
    for queue in ["-1", "1e9", "4294967296", "\"many\""] {
        odd.call("ipc.subscribe", format!(r#"{{"pattern":"a","queue":{queue}}}"#));
        assert_eq!(odd.failure().code, ErrorCode::INVALID, "{queue}");
    }
    for queue in [0, u32::MAX] {
        let _: Subscribed = odd.ask("subscribe", &json!({ "pattern": "a", "queue": queue }));
    }
    drop(odd);
    scene.nothing_is_left();
}

/// Each pattern of ten labels that are `a` or `*`: a topic of ten labels matches all of them.
#[test]
fn b07_a_thousand_patterns_that_match_one_topic_delay_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let mut peers: Vec<Peer> = (0..4).map(|_| Peer::connect(broker)).collect();
        for number in 0..1_024_usize {
            let labels = (0..10).map(|bit| if number >> bit & 1 == 1 { "*" } else { "a" });
            subscribe(&mut peers[number % 4], &labels.collect::<Vec<_>>().join("."));
        }
        let mut publisher = Peer::connect(broker);
        (1..=20).for_each(|id| publisher.send(&Message::Event(event(id, "a.a.a.a.a.a.a.a.a.a", "x"))));
        publisher.settle();
    });
    siege.lift();
}

#[test]
fn b07_kept_events_are_limited_for_each_user_and_cleared() {
    let mut scene = Scene::with_config("[limits]\nretained_bytes_per_uid = 100000\n");
    let mut greedy = Peer::connect(&scene.broker);
    let mut id = 0;
    let mut keep = |greedy: &mut Peer, number: u64, body: Vec<u8>| {
        id += 1;
        let event = Event { retained: true, one_way: false, ..event(id, &format!("kept.n{number}"), body) };
        greedy.send(&Message::Event(event));
        greedy.receive().unwrap()
    };
    let answers: Vec<Message> = (0..20).map(|number| keep(&mut greedy, number, vec![7; 10_000])).collect();
    let granted = answers.iter().filter(|answer| matches!(answer, Message::Reply(_))).count();
    let refused = |answer: &Message| matches!(answer, Message::Error(failure) if failure.code == ErrorCode::BUSY);
    assert!((5..10).contains(&granted), "{granted} are kept");
    assert!(answers[granted..].iter().all(refused), "{answers:?}");
    scene.bystanders_go_on();
    let held = scene.broker.stat("bytes_held");
    assert!(held >= 10_000 * granted as u64, "{held} bytes are charged");
    (0..20).for_each(|number| assert!(matches!(keep(&mut greedy, number, vec![]), Message::Reply(_)), "cleared"));
    drop(greedy);
    scene.nothing_is_left();
}

#[test]
fn b07_subscribers_that_come_and_go_while_others_publish_delay_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let mut publisher = Peer::connect(broker);
        for round in 0..20 {
            let mut peers: Vec<Peer> = (0..10).map(|_| Peer::connect(broker)).collect();
            peers.iter_mut().for_each(|peer| _ = subscribe(peer, "flood.**"));
            publish_numbers(&mut publisher, "flood.of.numbers", round * 20..round * 20 + 20);
        }
    });
    siege.lift();
}

// ---- locks

#[test]
fn b06_locks_are_limited_and_leave_with_their_peer() {
    let mut scene = Scene::with_config("[limits]\nlocks_per_peer = 5\n");
    let mut greedy = Peer::connect(&scene.broker);
    for number in 0..5 {
        let _: Empty = greedy.ask("lock", &json!({ "name": format!("l{number}") }));
    }
    greedy.call("ipc.lock", r#"{"name":"one.more"}"#);
    let failure = greedy.failure();
    assert!(failure.code == ErrorCode::BUSY && failure.text.contains("5 locks"), "{failure:?}");
    drop(greedy);
    scene.nothing_is_left();
}

#[test]
fn b06_odd_locks_are_refused() {
    let mut scene = Scene::start();
    let mut odd = Peer::connect(&scene.broker);
    let long = "a".repeat(300);
    for name in ["", ".", "a..b", "A", "*", "@1", &long] {
        odd.call("ipc.lock", json!({ "name": name }).to_string());
        assert_eq!(odd.failure().code, ErrorCode::INVALID, "{name:?}");
    }
    odd.call("ipc.lock", r#"{"name":"ipc.mine"}"#);
    assert_eq!(odd.failure().code, ErrorCode::DENIED);
    for places in ["0", "-1", "4294967296"] {
        odd.call("ipc.lock", format!(r#"{{"name":"a","places":{places}}}"#));
        assert_eq!(odd.failure().code, ErrorCode::INVALID, "{places}");
    }
    odd.call("ipc.unlock", r#"{"name":"a"}"#);
    assert_eq!(odd.failure().code, ErrorCode::NO_SERVICE);
    drop(odd);
    scene.nothing_is_left();
}

/// Waits of many for one lock, whose holder never gives it back and then dies.
#[test]
fn b06_hundreds_of_waits_for_one_lock_delay_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let mut holder = Peer::connect(broker);
        let _: Empty = holder.ask("lock", &json!({ "name": "busy" }));
        let mut waiting: Vec<Peer> = (0..200).map(|_| Peer::connect(broker)).collect();
        let (first, others) = waiting.split_first_mut().unwrap();
        first.call("ipc.lock", r#"{"name":"busy"}"#);
        first.settle();
        others.iter_mut().for_each(|peer| _ = peer.call("ipc.lock", r#"{"name":"busy"}"#));
        others.iter_mut().for_each(Peer::settle);
        drop(holder);
        assert!(matches!(waiting[0].receive(), Some(Message::Reply(_))), "the first in line has it");
        waiting.truncate(100);
    });
    siege.lift();
}

/// What a stranger may: nothing of this.
#[test]
fn d10_another_user_may_not_publish_subscribe_lock_or_stream() {
    if !is_root() {
        return;
    }
    let broker = Broker::start();
    broker.file("ask.sh", "for verb in 'publish news.x hello' 'subscribe news. -t 1s' 'lock l -- true' 'topics'; do ipcctl $verb; echo $?; done");
    let asked = broker.shell("sh ask.sh").user(STRANGER).run();
    let codes: Vec<&str> =
        asked.stdout.split(|byte| *byte == b'\n').filter_map(|line| str::from_utf8(line).ok()).collect();
    assert_eq!(codes, ["77", "77", "77", "77", ""], "{}", asked.stderr);
    assert_eq!(broker.stat("events_delivered"), 0);
}
