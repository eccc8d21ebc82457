//! More of everything than there is room for: clear refusals, and room again as soon as a peer leaves.

use std::time::{Duration, Instant};

use ipc_protocol::{ErrorCode, control::Empty};
use ipc_tests::{
    broker::{AT_ONCE, Broker, STRANGER, is_root, is_soak},
    command::Command,
    eventually::{eventually, within},
    peer::Peer,
    proc,
    scene::Scene,
};

/// A process that opens `count` connections and keeps them.
fn crowd(broker: &Broker, count: usize) -> Command {
    broker.crowd(env!("CARGO_BIN_EXE_crowd"), "connections", count)
}

#[test]
fn s15_five_thousand_connects_at_once_are_all_served_or_safely_refused() {
    let mut scene = Scene::at(Broker::in_process(""));
    let finished = crowd(&scene.broker, 5_000).patience(Duration::from_secs(60)).run();
    let [welcomed, refused, other] = counts(&finished.stdout());
    assert_eq!((welcomed + refused, other), (5_000, 0), "{}", finished.stderr);
    assert!(welcomed > 0);
    scene.nothing_is_left();
}

#[test]
fn s15_a_backlog_of_one_refuses_no_connect_that_blocks() {
    let mut scene = Scene::with_config("[limits]\nbacklog = 1\n");
    let finished = crowd(&scene.broker, 500).run();
    assert_eq!((finished.stdout().trim(), finished.stderr.as_str()), ("welcomed=500 refused=0 other=0", ""));
    scene.nothing_is_left();
}

#[test]
fn connections_over_the_limit_are_refused_until_one_leaves() {
    let mut scene = Scene::with_config("[limits]\nconnections = 5\nconnections_reserved = 0\n");
    let mut taken: Vec<Peer> = (0..3).map(|_| Peer::connect(&scene.broker)).collect();
    let goodbye = Peer::open(&scene.broker).goodbye();
    assert_eq!(goodbye.code, ErrorCode::BUSY);
    assert!(goodbye.text.contains("its limit is 5"), "{}", goodbye.text);
    scene.bystanders_go_on();
    drop(taken.pop());
    let mut next = wait_for_place(&scene.broker);
    next.settle();
    drop((taken, next));
    scene.nothing_is_left();
}

#[test]
fn one_user_cannot_use_up_the_connections_of_others() {
    if !is_root() {
        return;
    }
    let mut scene = Scene::with_config("[limits]\nconnections_per_uid = 3\n");
    let finished = crowd(&scene.broker, 8).user(STRANGER).run();
    assert_eq!(finished.stdout().trim(), "welcomed=3 refused=5 other=0", "{}", finished.stderr);
    let other = crowd(&scene.broker, 2).user(STRANGER + 1).run();
    assert_eq!(other.stdout().trim(), "welcomed=2 refused=0 other=0", "{}", other.stderr);
    scene.nothing_is_left();
}

#[test]
fn the_last_connections_are_kept_for_root_and_the_owner() {
    if !is_root() {
        return;
    }
    let mut scene = Scene::with_config("[limits]\nconnections = 8\nconnections_reserved = 4\n");
    let mut holding = crowd(&scene.broker, 6).user(STRANGER).interactive().start();
    holding.expect_output("welcomed=2 refused=4 other=0");
    let mut administrator = Peer::connect(&scene.broker);
    administrator.settle();
    holding.end_input();
    assert_eq!(holding.finish().code, 0);
    drop(administrator);
    scene.nothing_is_left();
}

#[test]
fn a_broker_with_few_descriptors_refuses_with_an_error_and_serves_the_rest() {
    let mut scene = Scene::at(with_open_files(256));
    let finished = crowd(&scene.broker, 1_000).run();
    let [welcomed, refused, other] = counts(&finished.stdout());
    assert!(welcomed >= 150, "{welcomed} of 256 descriptors are for connections");
    assert_eq!((refused, other), (1_000 - welcomed, 0), "{}", finished.stderr);
    let limit = welcomed + 2; // the bystanders
    let lowered = format!("event=connections_lowered from=16384 to={limit} reason=");
    scene.broker.daemon().unwrap().expect_log(&lowered);
    scene.nothing_is_left();
}

#[test]
fn a_broker_with_very_few_descriptors_serves_the_peers_it_has() {
    let mut scene = Scene::at(with_open_files(64));
    let finished = crowd(&scene.broker, 100).run();
    let [welcomed, refused, other] = counts(&finished.stdout());
    assert!(welcomed >= 20, "{welcomed} of 64 descriptors are for connections");
    assert_eq!((refused, other), (100 - welcomed, 0), "{}", finished.stderr);
    scene.nothing_is_left();
}

#[test]
fn of_few_connections_some_are_left_for_strangers() {
    if !is_root() {
        return;
    }
    let mut scene = Scene::at(with_open_files(256));
    let finished = crowd(&scene.broker, 300).user(STRANGER).run();
    let [welcomed, _, other] = counts(&finished.stdout());
    assert!(welcomed >= 150 && other == 0, "{} {}", finished.stdout(), finished.stderr);
    scene.nothing_is_left();
}

/// A broker whose process may have this many open files.
fn with_open_files(most: usize) -> Broker {
    Broker::launched_by("", Command::new("prlimit", [format!("--nofile={most}:{most}"), path_of_ipcd()]))
}

/// The numbers of a crowd's connections that were welcomed, refused and lost.
fn counts(line: &str) -> [usize; 3] {
    let counts = line.split_whitespace().filter_map(|word| word.split_once('=')?.1.parse().ok());
    counts.collect::<Vec<_>>().try_into().expect("a crowd prints three counts")
}

#[test]
fn without_a_free_descriptor_one_caller_is_refused_and_the_others_wait() {
    let mut scene = Scene::at(Broker::in_process(""));
    let daemon = scene.broker.daemon().unwrap();
    let (pid, open) = (daemon.pid(), daemon.descriptors());
    let fourth_free = (0..).filter(|number| !open.contains(number)).nth(3).expect("numbers do not end");
    proc::limit_descriptors(pid, Some(fourth_free));
    let mut inside: Vec<Peer> = (0..3).map(|_| Peer::connect(&scene.broker)).collect();

    let mut outside = Peer::open(&scene.broker);
    let goodbye = outside.goodbye();
    assert_eq!(goodbye.code, ErrorCode::BUSY, "{}", goodbye.text);
    assert!(goodbye.text.contains("no descriptor left"), "{}", goodbye.text);
    scene.bystanders_go_on();

    let before = proc::cpu_ticks(pid);
    let start = Instant::now();
    eventually(AT_ONCE, "half a second", || start.elapsed() > Duration::from_millis(500));
    assert!(proc::cpu_ticks(pid) - before <= 5, "a full broker does not spin");

    inside.pop();
    let mut next = wait_for_place(&scene.broker);
    next.settle();
    drop((inside, next, outside));
    proc::limit_descriptors(pid, None);
    scene.nothing_is_left();
}

#[test]
fn churn_leaves_nothing_behind() {
    let mut scene = Scene::at(Broker::in_process(""));
    let pid = scene.broker.daemon().unwrap().pid();
    let (first, then) = if is_soak() { (100_000, 900_000) } else { (500, 5_000) };
    churn(&scene.broker, first); // warm up: some memory is allocated once and kept
    scene.nothing_is_left();
    let before = proc::resident_kib(pid);
    churn(&scene.broker, then);
    scene.nothing_is_left();
    let grown = proc::resident_kib(pid).saturating_sub(before);
    assert!(grown <= 1024, "{grown} KiB more after {then} connections");
}

#[test]
fn memory_comes_back_within_five_seconds_after_a_rush() {
    let mut scene = Scene::at(Broker::in_process("[limits]\ncalls_per_service = 100000\n"));
    let pid = scene.broker.daemon().unwrap().pid();
    let before = proc::resident_kib(pid);
    let mut holding = crowd(&scene.broker, 3_000).patience(Duration::from_secs(60)).interactive().start();
    holding.expect_output("welcomed=3000 refused=0 other=0");
    let mut service = Peer::connect(&scene.broker);
    service.register("stuck", 1);
    let mut callers: Vec<Peer> = (0..40).map(|_| Peer::connect(&scene.broker)).collect();
    for (at, caller) in callers.iter_mut().enumerate() {
        (0..500).for_each(|call| _ = caller.call("stuck", vec![7; (at * call) % 900]));
        caller.call("stuck", vec![7; 5_000 * at]);
    }
    eventually(Duration::from_secs(60), "the calls are queued", || scene.broker.stat("calls_pending") >= 20_000);
    let most = proc::resident_kib(pid);
    assert!(most > before + 16 * 1024, "{most} KiB is hardly more than {before}");
    holding.end_input();
    assert_eq!(holding.finish().code, 0);
    drop((callers, service));
    scene.nothing_is_left();

    let left = || proc::resident_kib(pid).saturating_sub(before);
    let is_back = within(Duration::from_secs(5), || left() <= 8 * 1024);
    assert!(is_back, "{} KiB more than before, after {most}", left());
}

fn churn(broker: &Broker, times: usize) {
    (0..times).for_each(|_| _ = Peer::connect(broker).ask::<_, Empty>("ping", &Empty {}));
}

#[test]
fn very_many_groups_cost_the_broker_no_memory() {
    if !is_root() {
        return;
    }
    let mut scene = Scene::at(Broker::in_process(""));
    let pid = scene.broker.daemon().unwrap().pid();
    let before = proc::resident_kib(pid);
    let groups: Vec<String> = (10_000..30_000).map(|group| group.to_string()).collect();
    let crowd = env!("CARGO_BIN_EXE_crowd").to_owned();
    let socket = scene.broker.socket().display().to_string();
    let arguments = [format!("--groups={}", groups.join(",")), crowd, "connections".into(), socket, "200".into()];
    let mut holding = Command::new("setpriv", arguments).interactive().start();
    holding.expect_output("welcomed=200 refused=0 other=0");
    let grown = proc::resident_kib(pid).saturating_sub(before);
    assert!(grown <= 4 * 1024, "{grown} KiB for 200 connections with 20,000 groups each");
    holding.end_input();
    assert_eq!(holding.finish().code, 0);
    scene.nothing_is_left();
}

#[test]
fn a_broker_with_little_memory_lowers_its_quota_and_lives() {
    let launcher = Command::new("prlimit", ["--as=134217728".to_owned(), path_of_ipcd()]);
    let mut scene = Scene::at(Broker::launched_by("[limits]\nbytes_per_uid = 268435456\n", launcher));
    let lowered = "event=bytes_total_lowered from=268435456 to=75497472 reason=";
    scene.broker.daemon().unwrap().expect_log(lowered);
    let mut service = Peer::connect(&scene.broker);
    service.register("stuck", 1);
    let mut callers: Vec<Peer> = (0..150).map(|_| Peer::connect(&scene.broker)).collect();
    for caller in &mut callers {
        caller.stream().set_nonblocking(true).unwrap();
        let frame = ipc_protocol::Message::Call(ipc_tests::peer::call(1, "stuck", vec![7; 1_000_000])).to_vec();
        let _ = caller.try_send_bytes(&frame);
    }
    scene.bystanders_go_on();
    drop((callers, service));
    scene.nothing_is_left();
}

#[test]
fn names_over_the_limit_are_refused() {
    let mut scene = Scene::with_config("[limits]\nnames_per_peer = 2\n");
    let mut peer = Peer::connect(&scene.broker);
    peer.register("one", 1);
    peer.register("two", 1);
    peer.call("ipc.register", r#"{"name":"three"}"#);
    let failure = peer.failure();
    assert_eq!(failure.code, ErrorCode::BUSY);
    let _: serde_json::Value = peer.ask("unregister", &serde_json::json!({ "name": "one" }));
    peer.register("three", 1);
    drop(peer);
    scene.nothing_is_left();
}

#[test]
fn the_bytes_of_one_user_are_bounded_over_all_its_connections() {
    let limits = "[limits]\nbytes_per_uid = 4000000\nframe_ms = 1000\n";
    let mut scene = Scene::at(Broker::in_process(limits));
    let pid = scene.broker.daemon().unwrap().pid();
    let before = proc::resident_kib(pid);
    let mut service = Peer::connect(&scene.broker);
    service.register("stuck", 1);
    let mut callers: Vec<Peer> = (0..30).map(|_| Peer::connect(&scene.broker)).collect();
    for caller in &mut callers {
        // Sends as much as the kernel and the broker take. The broker stops reading from a caller whose frame has no room.
        caller.stream().set_nonblocking(true).unwrap();
        let frame = ipc_protocol::Message::Call(ipc_tests::peer::call(1, "stuck", vec![7; 1_000_000])).to_vec();
        let _ = caller.try_send_bytes(&frame);
    }
    Peer::connect(&scene.broker).settle();
    let grown = proc::resident_kib(pid).saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB for a user that may have 4 MB");
    drop((callers, service));
    scene.nothing_is_left();
}

/// Connects as soon as the broker has room.
#[track_caller]
fn wait_for_place(broker: &Broker) -> Peer {
    let mut welcomed = None;
    let got_in = within(AT_ONCE, || {
        let mut peer = Peer::open(broker);
        let _ = peer.try_send_bytes(&ipc_tests::peer::hello().to_vec());
        let is_in = matches!(peer.receive(), Some(ipc_protocol::Message::Welcome(_)));
        welcomed = is_in.then_some(peer);
        is_in
    });
    assert!(got_in, "a place was free");
    welcomed.expect("it got in")
}

fn path_of_ipcd() -> String {
    ipc_tests::programs::Programs::get().ipcd.display().to_string()
}
