//! Services and callers that die: each call ends exactly once, and says whether it may have run.

use std::{net::Shutdown, time::Duration};

use ipc_protocol::{ErrorCode, Message, Retry};
use ipc_tests::{
    broker::Broker,
    peer::{Peer, call},
    scene::Scene,
};
use nix::sys::signal::Signal;

#[test]
fn a_service_that_dies_leaves_each_caller_one_error() {
    let mut scene = Scene::start();
    let mut service = Peer::connect(&scene.broker);
    service.register("mortal", 100);
    let mut callers: Vec<Peer> = (0..20).map(|_| Peer::connect(&scene.broker)).collect();
    callers.iter_mut().for_each(|caller| _ = caller.call("mortal", ""));
    (0..20).for_each(|_| drop(service.delivered()));
    drop(service);
    for caller in &mut callers {
        let failure = caller.failure();
        assert_eq!((failure.code, failure.retry), (ErrorCode::SERVICE_GONE, Retry::Unknown));
        caller.settle(); // no other message has come
    }
    drop(callers);
    scene.nothing_is_left();
}

#[test]
fn a_service_that_shuts_down_its_reading_side_is_gone_with_its_names() {
    let mut scene = Scene::start();
    let (mut service, mut caller) = (Peer::connect(&scene.broker), Peer::connect(&scene.broker));
    service.register("deaf", 8);
    caller.call("deaf", "answered");
    let answered = service.delivered();
    service.stream().shutdown(Shutdown::Read).unwrap();
    service.answer(&answered, "it may still be sent");
    assert_eq!(caller.reply().1, "it may still be sent");

    caller.call("deaf", "never read");

    assert_eq!(caller.failure().code, ErrorCode::SERVICE_GONE);
    caller.call("deaf", "");
    assert_eq!(caller.failure().code, ErrorCode::NO_SERVICE);
    drop((service, caller));
    scene.nothing_is_left();
}

/// A call that ends with `unknown` ran at most once, and one that ends with `safe` did not: compares the service's calls with the
/// callers' errors.
#[test]
fn calls_that_a_dying_service_received_are_unknown_and_the_rest_safe() {
    let broker = Broker::start();
    let (mut service, mut caller) = (Peer::connect(&broker), Peer::connect(&broker));
    service.register("mortal", 2);
    let calls: Vec<u64> = (0..5).map(|at| caller.call("mortal", at.to_string())).collect();
    caller.settle(); // the broker has read all of them
    let run: Vec<_> = (0..2).map(|_| service.delivered().body).collect();
    assert_eq!(run, ["0", "1"]);
    drop(service);
    let mut ends: Vec<_> = (0..5).map(|_| caller.failure()).map(|one| (one.id, one.code, one.retry)).collect();
    ends.sort_by_key(|(id, ..)| *id);
    let gone = |id, retry| (id, ErrorCode::SERVICE_GONE, retry);
    let (unknown, safe) = (Retry::Unknown, Retry::Safe);
    let expected = [unknown, unknown, safe, safe, safe].into_iter().zip(calls).map(|(retry, id)| gone(id, retry));
    assert_eq!(ends, expected.collect::<Vec<_>>());
}

#[test]
fn a_name_is_free_before_the_callers_of_a_dead_service_are_told() {
    let broker = Broker::start();
    let (mut first, mut caller) = (Peer::connect(&broker), Peer::connect(&broker));
    first.register("phoenix", 1);
    caller.call("phoenix", "");
    first.delivered();
    drop(first);
    assert_eq!(caller.failure().code, ErrorCode::SERVICE_GONE);
    caller.register("phoenix", 1); // would be name_taken
}

#[test]
fn a_caller_that_dies_cancels_its_calls_and_their_answers_are_dropped() {
    let mut scene = Scene::start();
    let (mut service, mut caller) = (Peer::connect(&scene.broker), Peer::connect(&scene.broker));
    service.register("diligent", 1);
    caller.call("diligent", "");
    let delivered = service.delivered();
    drop(caller);
    let cancel = service.cancelled();
    assert_eq!((cancel.id, cancel.reason), (delivered.id, ErrorCode::CANCELLED));
    service.answer(&delivered, "too late");
    service.settle();
    assert_eq!((scene.broker.stat("replies_late"), scene.broker.stat("replies_stray")), (1, 0));
    drop(service);
    scene.nothing_is_left();
}

#[test]
fn a_hung_service_receives_a_cancel_at_the_deadline_and_its_late_answer_is_counted() {
    let mut scene = Scene::start();
    let (mut service, mut caller) = (Peer::connect(&scene.broker), Peer::connect(&scene.broker));
    service.register("hung", 1);
    let id = caller.call_within("hung", "", Duration::from_millis(100));
    let delivered = service.delivered();
    assert!((1..=100).contains(&delivered.timeout_ms), "{} ms left", delivered.timeout_ms);
    let failure = caller.failure();
    assert_eq!((failure.id, failure.code, failure.retry), (id, ErrorCode::DEADLINE, Retry::Unknown));
    assert_eq!(service.cancelled().reason, ErrorCode::DEADLINE);
    service.answer(&delivered, "too late");
    service.settle();
    caller.settle();
    assert_eq!(scene.broker.stat("replies_late"), 1);
    drop((service, caller));
    scene.nothing_is_left();
}

#[test]
fn a_deadline_in_the_queue_is_safe_to_retry() {
    let broker = Broker::start();
    let (mut service, mut caller) = (Peer::connect(&broker), Peer::connect(&broker));
    service.register("hung", 1);
    caller.call("hung", "first");
    let id = caller.call_within("hung", "second", Duration::from_millis(50));
    let failure = caller.failure();
    assert_eq!((failure.id, failure.code, failure.retry), (id, ErrorCode::DEADLINE, Retry::Safe));
}

#[test]
fn a_cancelled_call_ends_at_once_and_its_service_receives_the_cancel() {
    let broker = Broker::start();
    let (mut service, mut caller) = (Peer::connect(&broker), Peer::connect(&broker));
    service.register("slow", 1);
    let id = caller.call("slow", "");
    let delivered = service.delivered();
    caller.cancel(id);
    let failure = caller.failure();
    assert_eq!((failure.id, failure.code, failure.retry), (id, ErrorCode::CANCELLED, Retry::Unknown));
    let cancel = service.cancelled();
    assert_eq!((cancel.id, cancel.reason), (delivered.id, ErrorCode::CANCELLED));
}

#[test]
fn a_cancelled_call_in_the_queue_never_runs() {
    let broker = Broker::start();
    let (mut service, mut caller) = (Peer::connect(&broker), Peer::connect(&broker));
    service.register("slow", 1);
    caller.call("slow", "first");
    let second = caller.call("slow", "second");
    caller.call("slow", "third");
    caller.cancel(second);
    assert_eq!(caller.failure().retry, Retry::Safe);
    service.echo();
    service.echo();
    assert_eq!([caller.reply().1, caller.reply().1], ["first", "third"]);
}

#[test]
fn queued_calls_of_a_shared_name_go_to_the_remaining_instance() {
    let broker = Broker::start();
    let [mut first, mut second, mut caller] = [(); 3].map(|()| Peer::connect(&broker));
    let shared = serde_json::json!({ "name": "pool", "window": 1, "shared": true });
    let _: serde_json::Value = first.ask("register", &shared);
    let _: serde_json::Value = second.ask("register", &shared);
    let calls: Vec<u64> = (0..4).map(|at| caller.call("pool", at.to_string())).collect();
    first.delivered();
    drop(first);
    let failure = caller.failure();
    assert_eq!((failure.code, failure.retry), (ErrorCode::SERVICE_GONE, Retry::Unknown));
    (0..3).for_each(|_| second.echo());
    let mut answered: Vec<u64> = (0..3).map(|_| caller.reply().0).collect();
    answered.push(failure.id);
    answered.sort_unstable();
    assert_eq!(answered, calls);
}

#[test]
fn a_call_goes_to_the_least_busy_instance() {
    let broker = Broker::start();
    let [mut first, mut second, mut caller] = [(); 3].map(|()| Peer::connect(&broker));
    let shared = serde_json::json!({ "name": "pool", "window": 10, "shared": true });
    let _: serde_json::Value = first.ask("register", &shared);
    let _: serde_json::Value = second.ask("register", &shared);
    ["a", "b"].iter().for_each(|body| _ = caller.call("pool", *body));
    let kept = first.delivered();
    second.echo();
    caller.reply();
    // One instance has a call and the other none, so the next call goes to the latter.
    caller.call("pool", "c");
    second.echo();
    assert_eq!(caller.reply().1, "c");
    let body = kept.body.clone();
    first.answer(&kept, body.into_bytes());
    assert!(["a", "b"].contains(&&*String::from_utf8_lossy(&caller.reply().1)));
}

#[test]
fn calls_of_one_caller_arrive_in_the_order_sent() {
    let broker = Broker::start();
    let (mut service, mut caller) = (Peer::connect(&broker), Peer::connect(&broker));
    service.register("orderly", 3);
    let sent: Vec<String> = (0..200).map(|at| at.to_string()).collect();
    sent.iter().for_each(|body| _ = caller.call("orderly", body.clone()));
    let received = sent.iter().map(|_| {
        let delivered = service.delivered();
        let body = delivered.body.clone();
        service.answer(&delivered, "");
        body
    });
    assert_eq!(received.collect::<Vec<_>>(), sent);
}

#[test]
fn a_one_way_call_without_a_service_is_refused_and_not_silently_lost() {
    let broker = Broker::start();
    let mut caller = Peer::connect(&broker);
    let one_way = ipc_protocol::Call { one_way: true, ..ipc_tests::peer::call(1, "nobody", "") };
    caller.send(&Message::Call(one_way));
    let failure = caller.failure();
    assert_eq!((failure.id, failure.code), (1, ErrorCode::NO_SERVICE));
}

#[test]
fn a_brokers_error_code_from_a_service_becomes_internal() {
    let broker = Broker::start();
    let (mut service, mut caller) = (Peer::connect(&broker), Peer::connect(&broker));
    service.register("liar", 1);
    caller.call("liar", "");
    let delivered = service.delivered();
    let claim = ipc_protocol::Failure {
        retry: Retry::Safe,
        ..ipc_protocol::Failure::new(delivered.id, ErrorCode::NO_SERVICE, "I am not here")
    };
    service.send(&Message::Error(claim));
    let failure = caller.failure();
    assert_eq!((failure.code, failure.retry), (ErrorCode::INTERNAL, Retry::Unknown));
}

/// The caller of these answers has gone, which must not keep the broker from reading the rest of its calls.
#[test]
fn messages_written_before_a_peer_left_are_handled() {
    let mut broker = Broker::in_process("");
    let mut leaver = Peer::connect(&broker);
    broker.daemon().unwrap().pause();
    let calls = (1..=600).map(|id| Message::Call(call(id, "nobody.there", vec![b'x'; 100])));
    leaver.send_bytes(&calls.flat_map(|call| call.to_vec()).collect::<Vec<u8>>()); // several reads of the broker
    drop(leaver);
    broker.daemon().unwrap().signal(Signal::SIGCONT);
    broker.expect_stat("errors_no_service", 600);
}
