//! Peers that do not read, do not answer or write endlessly. Only they themselves suffer.

use std::{io, net::Shutdown, thread};

use ipc_protocol::{ErrorCode, Message, Retry};
use ipc_tests::{
    broker::{AT_ONCE, Broker},
    eventually::eventually,
    peer::{Peer, call},
    proc,
    scene::Scene,
};

#[test]
fn a_caller_that_does_not_read_its_replies_is_cut_and_delays_no_service() {
    let limits = "[limits]\nbody_bytes = 200000\nunread_soft_bytes = 100000\nunread_hard_bytes = 400000\n";
    let mut scene = Scene::with_config(limits);
    let (mut service, mut caller) = (Peer::connect(&scene.broker), Peer::connect(&scene.broker));
    service.register("big", 64);
    (0..20).for_each(|_| _ = caller.call("big", ""));
    for _ in 0..20 {
        let delivered = service.delivered();
        service.answer(&delivered, vec![7; 100_000]);
    }
    scene.bystanders_go_on();
    assert_eq!(service.cancelled().reason, ErrorCode::CANCELLED, "of the first that its caller did not live to read");
    eventually(AT_ONCE, "the caller is cut", || scene.broker.stat("connections_cut") == 1);
    drop((service, caller));
    scene.nothing_is_left();
}

#[test]
fn a_peer_that_pings_the_broker_and_never_reads_is_heard_no_further() {
    let mut scene = Scene::start();
    let mut greedy = Peer::connect(&scene.broker);
    greedy.stream().set_nonblocking(true).unwrap();
    let pings = Message::Ping(1).to_vec().repeat(1000);
    eventually(AT_ONCE, "the broker reads no more", || {
        matches!(greedy.try_send_bytes(&pings), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            && scene.broker.stat("bytes_held") >= 1 << 20
    });
    let held = scene.broker.stat("bytes_held");
    assert!(held < (1 << 20) + 65_536, "{held} bytes");
    scene.bystanders_go_on();
    drop(greedy);
    scene.nothing_is_left();
}

#[test]
fn a_peer_that_asks_for_the_list_of_all_peers_and_never_reads_holds_little_memory() {
    let mut scene = Scene::with_config("[limits]\nconnections_per_uid = 1000\n");
    let mut crowd = scene.broker.crowd(env!("CARGO_BIN_EXE_crowd"), "connections", 500).interactive().start();
    crowd.expect_output("welcomed=500 refused=0 other=0");
    let mut greedy = Peer::connect(&scene.broker);
    greedy.stream().set_nonblocking(true).unwrap();
    let asking: Vec<u8> = (1..=20_000).flat_map(|id| Message::Call(call(id, "ipc.peers", "")).to_vec()).collect();
    let refused = greedy.try_send_bytes(&asking).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    scene.bystanders_go_on();

    let held = scene.broker.stat("bytes_held");
    assert!(held < (1 << 20) + 2 * 65_536, "{held} bytes: its unread answers, one more, and what waits behind them");
    drop(greedy);
    crowd.end_input();
    assert_eq!(crowd.finish().code, 0);
    scene.nothing_is_left();
}

#[test]
fn a_service_that_does_not_read_fills_its_queue_and_is_then_busy() {
    let mut scene = Scene::with_config("[limits]\ncalls_per_service = 8\nunread_soft_bytes = 100000\n");
    let (mut service, mut caller) = (Peer::connect(&scene.broker), Peer::connect(&scene.broker));
    service.register("stuck", 1000);
    (0..8).for_each(|_| _ = caller.call("stuck", vec![7; 100_000]));
    let ninth = caller.call("stuck", "");
    let failure = caller.failure();
    assert_eq!((failure.id, failure.code, failure.retry), (ninth, ErrorCode::BUSY, Retry::Safe));
    scene.bystanders_go_on();
    drop((service, caller));
    scene.nothing_is_left();
}

#[test]
fn a_caller_with_too_many_calls_is_refused_at_once() {
    let mut scene = Scene::with_config("[limits]\ncalls_per_caller = 5\n");
    let (mut service, mut caller) = (Peer::connect(&scene.broker), Peer::connect(&scene.broker));
    service.register("slow", 100);
    (0..5).for_each(|_| _ = caller.call("slow", ""));
    let sixth = caller.call("slow", "");
    let failure = caller.failure();
    assert_eq!((failure.id, failure.code, failure.retry), (sixth, ErrorCode::BUSY, Retry::Safe));
    scene.bystanders_go_on();
    drop((service, caller));
    scene.nothing_is_left();
}

#[test]
fn a_flood_of_pings_does_not_starve_others() {
    let pings = Message::Ping(1).to_vec().repeat(4096);
    let sent = flood(move |flooder| (0..50).map_while(|_| flooder.try_send_bytes(&pings).ok()).count());
    assert_eq!(sent, 50, "a peer that reads its pongs is not cut");
}

#[test]
fn a_flood_of_calls_does_not_starve_others() {
    let calls: Vec<u8> = (1..=50_000).flat_map(|id| Message::Call(call(id, "nobody", "")).to_vec()).collect();
    flood(move |flooder| flooder.send_bytes(&calls));
}

/// A peer sends without a pause and reads everything that comes back. The bystanders go on all the while.
#[track_caller]
fn flood<T: Send + 'static>(send: impl FnOnce(&mut Peer) -> T + Send + 'static) -> T {
    let mut scene = Scene::start();
    let mut flooder = Peer::connect(&scene.broker);
    let stream = flooder.stream().try_clone().unwrap();
    let reader = thread::spawn(move || io::copy(&mut &stream, &mut io::sink()));
    let writer = thread::spawn(move || {
        let sent = send(&mut flooder);
        flooder.stream().shutdown(Shutdown::Write).unwrap();
        sent
    });
    (0..200).for_each(|_| scene.bystanders_go_on());
    let sent = writer.join().unwrap();
    reader.join().unwrap().unwrap();
    scene.nothing_is_left();
    sent
}

#[test]
fn a_stopped_service_delays_only_its_own_callers() {
    let mut scene = Scene::start();
    let service = scene.broker.serve("frozen", &["frozen", "--", "cat"]);
    service.signal(nix::sys::signal::Signal::SIGSTOP);
    eventually(AT_ONCE, "a stopped service", || proc::state(service.pid()) == Some('T'));
    let waiting = scene.broker.ipcctl(["-t", "300ms", "send", "frozen", "x"]).start();
    scene.bystanders_go_on();
    let finished = waiting.finish();
    finished.refused(124);
    drop(service);
    scene.nothing_is_left();
}

#[test]
fn a_congested_caller_still_receives_what_fits() {
    let broker = Broker::start();
    let (mut service, mut caller) = (Peer::connect(&broker), Peer::connect(&broker));
    service.register("big", 64);
    (0..30).for_each(|_| _ = caller.call("big", ""));
    for _ in 0..30 {
        let delivered = service.delivered();
        service.answer(&delivered, vec![7; 100_000]);
    }
    service.settle();
    let replies: usize = (0..30).map(|_| caller.reply().1.len()).sum();
    assert_eq!(replies, 3_000_000);
}
