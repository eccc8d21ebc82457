//! Peers that do not read, do not answer or write endlessly. Only they themselves suffer.

use std::{
    io::{self, Read},
    net::Shutdown,
    thread,
    time::Duration,
};

use ipc_protocol::{ErrorCode, Message, Retry};
use ipc_tests::{
    attack::{Attack, attack_for},
    broker::{AT_ONCE, Broker},
    eventually::eventually,
    peer::{Peer, call},
    proc,
    scene::Scene,
    siege::Siege,
};

#[test]
fn c02_a_caller_that_does_not_read_its_replies_is_cut_and_delays_no_service() {
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
fn c02_a_peer_that_pings_the_broker_and_never_reads_is_heard_no_further() {
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
fn b04_a_peer_that_asks_for_the_list_of_all_peers_and_never_reads_holds_little_memory() {
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
fn c03_a_service_that_does_not_read_fills_its_queue_and_is_then_busy() {
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
fn c04_a_flood_of_pings_does_not_starve_others() {
    let pings = Message::Ping(1).to_vec().repeat(4096);
    let sent = flood(move |flooder| (0..50).map_while(|_| flooder.try_send_bytes(&pings).ok()).count());
    assert_eq!(sent, 50, "a peer that reads its pongs is not cut");
}

#[test]
fn c04_a_flood_of_calls_does_not_starve_others() {
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
fn c03_a_stopped_service_delays_only_its_own_callers() {
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
fn c02_a_congested_caller_still_receives_what_fits() {
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

// ---- again and again, beside a steady caller

#[test]
fn c02_callers_that_do_not_read_delay_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let (mut service, mut caller) = (Peer::connect(broker), Peer::connect(broker));
        service.register("big", 64);
        (0..40).for_each(|_| _ = caller.call("big", ""));
        (0..40).for_each(|_| {
            let delivered = service.delivered();
            service.answer(&delivered, vec![7; 100_000]);
        });
        service.settle();
    });
    siege.lift();
}

#[test]
fn c03_services_that_do_not_read_delay_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let (mut service, mut caller) = (Peer::connect(broker), Peer::connect(broker));
        service.register("stuck", 1_000);
        caller.stream().set_nonblocking(true).unwrap();
        let calls: Vec<u8> =
            (1..=100).flat_map(|id| Message::Call(call(id, "stuck", vec![7; 100_000])).to_vec()).collect();
        let _ = caller.try_send_bytes(&calls);
        Peer::connect(broker).settle();
    });
    siege.lift();
}

#[test]
fn c04_floods_of_many_kinds_delay_no_peer() {
    for attack in [Attack::Pings, Attack::UnreadPings, Attack::Denied, Attack::Cancels, Attack::Strays, Attack::Lists] {
        let mut siege = Siege::lay();
        siege.endure(|broker| attack_for(attack, broker, 4));
        siege.lift();
    }
}

#[test]
fn c05_calls_in_a_circle_end_at_their_deadlines_and_delay_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        // Three services, each of which asks the next before it answers, and one that asks itself.
        let mut ring: Vec<Peer> = (0..3).map(|_| Peer::connect(broker)).collect();
        ring.iter_mut().enumerate().for_each(|(at, peer)| peer.register(&format!("ring{at}"), 1));
        let limit = Duration::from_millis(200);
        ring[0].call_within("ring1", "", limit);
        ring[1].delivered();
        ring[1].call_within("ring2", "", limit);
        ring[2].delivered();
        ring[2].call_within("ring0", "", limit);
        ring[0].delivered();
        ring[0].call_within("ring0", "", limit);
        for (peer, calls) in ring.iter_mut().zip([2, 1, 1]) {
            assert_eq!(failures(peer, calls), vec![ErrorCode::DEADLINE; calls]);
        }
    });
    siege.lift();
}

/// The errors of a peer's calls, skipping the cancels of those that it was to work on.
fn failures(peer: &mut Peer, calls: usize) -> Vec<ErrorCode> {
    let next = || match peer.receive() {
        Some(Message::Error(failure)) => Some(failure.code),
        Some(Message::Cancel(_)) => None,
        other => panic!("{other:?}"),
    };
    std::iter::repeat_with(next).flatten().take(calls).collect()
}

#[test]
fn c06_no_socket_of_the_broker_blocks() {
    let mut siege = Siege::lay();
    let held: Vec<Peer> = (0..3).map(|_| Peer::connect(siege.broker())).collect();
    let pid = siege.pid();
    let sockets: Vec<_> = proc::descriptors(pid).into_iter().filter(|number| proc::is_socket(pid, *number)).collect();
    assert!(sockets.len() >= 3 + 2, "{sockets:?}");
    let blocking: Vec<_> = sockets.into_iter().filter(|number| !proc::is_non_blocking(pid, *number)).collect();
    assert_eq!(blocking, [0_usize; 0], "descriptors of sockets that can block");
    drop(held);
    siege.lift();
}

#[test]
fn c08_a_slow_service_that_dies_in_the_middle_of_a_frame_delays_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let (mut service, mut caller) = (Peer::connect(broker), Peer::connect(broker));
        service.register("dying", 4);
        let ids = [(); 2].map(|()| caller.call("dying", vec![7; 1_000_000]));
        caller.settle();
        // The kernel has taken the start of the first call, the broker keeps the rest, and both are gone with their service.
        let mut start = [0; 1_000];
        service.stream().read_exact(&mut start).unwrap();
        drop(service);
        let failures = [caller.failure(), caller.failure()];
        assert_eq!(failures.each_ref().map(|failure| failure.id), ids);
        assert!(failures.iter().all(|failure| failure.code == ErrorCode::SERVICE_GONE), "{failures:?}");
    });
    siege.lift();
}

#[test]
fn c08_a_caller_that_dies_in_the_middle_of_a_frame_is_nothing_to_its_service() {
    let mut siege = Siege::lay();
    let mut service = Peer::connect(siege.broker());
    service.register("patient", 4);
    let half = Message::Call(call(1, "patient", vec![7; 1_000_000])).to_vec();
    siege.endure(|broker| {
        let mut caller = Peer::connect(broker);
        caller.stream().set_nonblocking(true).unwrap();
        let _ = caller.try_send_bytes(&half[..500_000]);
    });
    service.settle();
    drop(service);
    siege.lift();
}
