//! More of everything than there is room for: clear refusals, and room again as soon as a peer leaves.

use std::time::{Duration, Instant};

use ipc_protocol::{ErrorCode, Message, Retry, control::Empty};
use ipc_tests::{
    attack::{Attack, attack_for},
    broker::{AT_ONCE, Broker, STRANGER, counts, is_root, is_soak},
    bystander::Bystander,
    command::Command,
    eventually::{eventually, eventually_some, within},
    peer::{Peer, call},
    proc,
    scene::Scene,
    siege::{Siege, is_strict},
};

/// A process that opens `count` connections and keeps them.
fn crowd(broker: &Broker, count: usize) -> Command {
    broker.crowd(env!("CARGO_BIN_EXE_crowd"), "connections", count)
}

#[test]
fn b01_connections_over_the_limit_are_refused_until_one_leaves() {
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
fn b02_one_user_cannot_use_up_the_connections_of_others() {
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
fn b02_the_last_connections_are_kept_for_root_and_the_owner() {
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
fn b01_a_broker_with_few_descriptors_refuses_with_an_error_and_serves_the_rest() {
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
fn b01_a_broker_with_very_few_descriptors_serves_the_peers_it_has() {
    let mut scene = Scene::at(with_open_files(64));
    let finished = crowd(&scene.broker, 100).run();
    let [welcomed, refused, other] = counts(&finished.stdout());
    assert!(welcomed >= 20, "{welcomed} of 64 descriptors are for connections");
    assert_eq!((refused, other), (100 - welcomed, 0), "{}", finished.stderr);
    scene.nothing_is_left();
}

#[test]
fn b01_of_few_connections_some_are_left_for_strangers() {
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

#[test]
fn b01_without_a_free_descriptor_one_caller_is_refused_and_the_others_wait() {
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
fn b01_a_full_broker_serves_who_is_in_and_takes_the_next_at_once() {
    for most in [64, 256] {
        let mut siege = Siege::at(with_open_files(most));
        siege.endure(|broker| {
            let finished = crowd(broker, 1_000).run();
            assert_eq!(counts(&finished.stdout())[2], 0, "{}", finished.stderr);
        });
        let mut inside = fill(siege.broker());
        inside.pop();
        let start = Instant::now();
        inside.push(wait_for_place(siege.broker()));
        let took = start.elapsed();
        println!("{most} descriptors: {} connections, the next one's place after {took:?}", inside.len());
        assert!(took <= if is_strict() { Duration::from_millis(100) } else { AT_ONCE }, "{took:?}");
        drop(inside);
        siege.lift();
    }
}

/// Takes every place that is left.
fn fill(broker: &Broker) -> Vec<Peer> {
    std::iter::repeat_with(|| Peer::open(broker)).map_while(let_in).collect()
}

/// Says hello, and returns the peer if it is welcome.
fn let_in(mut peer: Peer) -> Option<Peer> {
    let _ = peer.try_send_bytes(&ipc_tests::peer::hello().to_vec());
    matches!(peer.receive(), Some(Message::Welcome(_))).then_some(peer)
}

#[test]
fn b11_churn_leaves_nothing_behind() {
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

fn churn(broker: &Broker, times: usize) {
    (0..times).for_each(|_| _ = Peer::connect(broker).ask::<_, Empty>("ping", &Empty {}));
}

#[test]
fn b06_names_over_the_limit_are_refused() {
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
fn b04_the_bytes_of_one_user_are_bounded_over_all_its_connections() {
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

#[test]
fn b05_a_caller_with_too_many_calls_is_refused_at_once() {
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

/// Connects as soon as the broker has room.
#[track_caller]
fn wait_for_place(broker: &Broker) -> Peer {
    eventually_some(AT_ONCE, "a place is free", || let_in(Peer::open(broker)))
}

fn path_of_ipcd() -> String {
    ipc_tests::programs::Programs::get().ipcd.display().to_string()
}

// ---- again and again, beside a steady caller

#[test]
fn b02_a_user_with_every_connection_it_may_have_delays_no_peer() {
    if !is_root() {
        return;
    }
    let mut siege = Siege::with_config("[limits]\nconnections_per_uid = 100\nconnects_strangers = 100000\n");
    siege.endure(|broker| {
        let finished = crowd(broker, 150).user(STRANGER).run();
        assert_eq!(finished.stdout().trim(), "welcomed=100 refused=50 other=0", "{}", finished.stderr);
    });
    siege.lift();
}

#[test]
fn b03_a_stranger_that_does_not_read_pins_little_kernel_memory() {
    if !is_root() {
        return;
    }
    let mut siege = Siege::lay();
    let before = proc::descriptors(siege.pid());
    let mut stalled = crowd(siege.broker(), 10).user(STRANGER).interactive().start();
    stalled.expect_output("welcomed=10 refused=0 other=0");
    let pid = siege.pid();
    let new = proc::descriptors(pid).into_iter().filter(|number| !before.contains(number));
    let buffers: Vec<_> = new.map(|number| proc::send_buffer(pid, number)).collect();
    assert_eq!(buffers, [16_384; 10], "what a socket may hold unread");
    stalled.end_input();
    assert_eq!(stalled.finish().code, 0);
    siege.lift();
}

#[test]
fn b03_what_lies_unread_in_the_kernel_is_charged_until_it_is_read() {
    let mut scene = Scene::start();
    let mut stalled = with_unread_replies(&scene.broker, 70);
    eventually(AT_ONCE, "it is charged", || scene.broker.stat("bytes_held") > 4_000_000);
    scene.bystanders_go_on();

    stalled.iter_mut().for_each(|caller| (0..REPLIES).for_each(|_| _ = caller.reply()));
    eventually(AT_ONCE, "it was read", || scene.broker.stat("bytes_held") < 1_000_000);

    let gone = with_unread_replies(&scene.broker, 70);
    eventually(AT_ONCE, "it is charged", || scene.broker.stat("bytes_held") > 4_000_000);
    drop((gone, stalled));
    scene.nothing_is_left();
}

#[test]
fn b03_a_user_leaves_no_more_in_the_kernel_than_its_quota() {
    let mut scene = Scene::with_config("[limits]\nbytes_per_uid = 6000000\n");
    let stalled = with_unread_replies(&scene.broker, 100);
    eventually(AT_ONCE, "some are cut", || scene.broker.stat("connections_cut") > 0);
    eventually(AT_ONCE, "it keeps to the quota", || scene.broker.stat("bytes_held") <= 6_000_000);
    scene.bystanders_go_on();
    assert!(scene.broker.stat("connections") > 40, "no more of them than it takes");
    drop(stalled);
    scene.nothing_is_left();
}

/// Callers that have each asked for some 100 KB, and read nothing of it.
fn with_unread_replies(broker: &Broker, count: usize) -> Vec<Peer> {
    let stalled = (0..count).map(|_| {
        let mut caller = Peer::connect(broker);
        (0..REPLIES).for_each(|_| _ = caller.call("ipc.limits", "{}"));
        caller
    });
    stalled.collect()
}

/// Answers to `ipc.limits` that are about 100 KB.
const REPLIES: usize = 40;

#[test]
fn b03_floods_that_read_nothing_leave_no_memory_behind() {
    let mut siege = Siege::lay();
    siege.endure(|broker| attack_for(Attack::UnreadLimits, broker, 2));
    siege.lift();
}

#[test]
fn b11_memory_comes_back_within_five_seconds_after_a_rush() {
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

#[test]
fn d07_very_many_groups_cost_the_broker_no_memory() {
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
fn b08_a_broker_with_little_memory_lowers_its_quota_and_lives() {
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
fn b05_calls_that_are_never_answered_delay_no_peer() {
    let mut siege = Siege::lay();
    let mut silent = Peer::connect(siege.broker());
    silent.register("silent", 10_000);
    let calls: Vec<u8> = (1..=1_100).flat_map(|id| Message::Call(call(id, "silent", "")).to_vec()).collect();
    let stream = silent.stream().try_clone().unwrap();
    stream.set_read_timeout(None).unwrap();
    let reader = std::thread::spawn(move || std::io::copy(&mut &stream, &mut std::io::sink()));
    siege.endure(|broker| {
        let mut caller = Peer::connect(broker);
        caller.send_bytes(&calls);
        (0..76).for_each(|_| assert_eq!(caller.failure().code, ErrorCode::BUSY, "1,024 may be pending"));
    });
    drop(silent.stream().shutdown(std::net::Shutdown::Both));
    drop(silent);
    let _ = reader.join().unwrap();
    siege.lift();
}

#[test]
fn b06_floods_of_registrations_delay_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let mut greedy = Peer::connect(broker);
        for at in 0..70 {
            greedy.call("ipc.register", format!(r#"{{"name":"greedy.n{at}"}}"#));
            assert!(matches!(greedy.receive(), Some(Message::Reply(_) | Message::Error(_))));
        }
        greedy.call("ipc.register", format!(r#"{{"name":"{}"}}"#, "x".repeat(65_536)));
        assert_eq!(greedy.failure().code, ErrorCode::INVALID);
    });
    siege.lift();
}

#[test]
fn b07_questions_about_thousands_of_names_delay_no_peer() {
    if !is_soak() {
        return;
    }
    let mut siege = Siege::lay();
    let mut holders: Vec<Peer> = (0..50).map(|_| Peer::connect(siege.broker())).collect();
    for (number, holder) in holders.iter_mut().enumerate() {
        (0..60).for_each(|at| holder.register(&format!("crowded.n{number}.m{at}"), 1));
    }
    for attack in [Attack::Lists, Attack::Peers, Attack::Waits] {
        siege.endure(|broker| attack_for(attack, broker, 4));
    }
    drop(holders);
    siege.lift();
}

#[test]
fn b08_a_broker_with_room_for_its_limits_survives_those_who_use_them_up() {
    let limits = "[limits]\nbytes_total = 67108864\nbytes_per_uid = 67108864\nframe_ms = 500\n";
    let launcher = Command::new("prlimit", [format!("--as={0}:{0}", 256 << 20), path_of_ipcd()]);
    let mut siege = Siege::at(Broker::launched_by(limits, launcher));
    siege.endure(fill_memory);
    siege.lift();
}

#[test]
fn b08_a_broker_with_little_memory_sheds_load() {
    let launcher = Command::new("prlimit", [format!("--as={0}:{0}", 128 << 20), path_of_ipcd()]);
    let mut siege = Siege::at(Broker::launched_by("[limits]\nframe_ms = 500\n", launcher));
    siege.endure(fill_memory);
    siege.lift();
}

#[test]
fn b08_a_broker_that_is_full_takes_no_more_memory_than_its_limits_say() {
    let limits =
        "[limits]\nbytes_total = 50000000\nbytes_per_uid = 50000000\nconnections = 1000\ncalls_per_service = 100000\n";
    let mut scene = Scene::at(Broker::in_process(limits));
    let pid = scene.broker.daemon().unwrap().pid();
    let worst = scene.broker.stat("bytes_worst");
    let mut service = Peer::connect(&scene.broker);
    service.register("stuck", 1);
    let callers: Vec<Peer> = (0..40).map(|_| Peer::connect(&scene.broker)).collect();
    let callers: Vec<Peer> = callers.into_iter().enumerate().map(fill_with_calls).collect();
    eventually(AT_ONCE, "it is full", || scene.broker.stat("bytes_held") > 37_000_000);

    let resident = proc::peak_resident_kib(pid) * 1_024;
    assert!((37_000_000..worst).contains(&resident), "{resident} bytes, the limits allow {worst}");
    drop((callers, service));
    scene.nothing_is_left();
}

/// Sends calls of all sizes.
fn fill_with_calls((at, mut caller): (usize, Peer)) -> Peer {
    (0..1_000).for_each(|number| _ = caller.call("stuck", vec![7; (at * 37 + number * 131) % 3_000]));
    caller
}

/// Many callers of a service that does not answer send as much as the broker takes.
fn fill_memory(broker: &Broker) {
    let mut stuck = Peer::connect(broker);
    stuck.register("stuck", 1);
    let calls: Vec<u8> =
        (1..=20).flat_map(|id| Message::Call(call(id, "stuck", vec![7; 1_000_000])).to_vec()).collect();
    let mut callers: Vec<Peer> = (0..30).map(|_| Peer::connect(broker)).collect();
    for caller in &mut callers {
        caller.stream().set_nonblocking(true).unwrap();
        let mut rest = &calls[..];
        let end = Instant::now() + Duration::from_millis(20);
        while let (Some(chunk), true) = (rest.get(..50_000), Instant::now() < end) {
            if caller.try_send_bytes(chunk).is_ok() {
                rest = &rest[50_000..];
            }
        }
    }
    Peer::connect(broker).settle();
}

#[test]
fn b09_a_flood_of_mistakes_makes_a_short_log() {
    let mut siege = Siege::lay();
    siege.endure(|broker| attack_for(Attack::Garbage, broker, 8));
    siege.endure(|broker| attack_for(Attack::LateGarbage, broker, 8));
    let log = std::fs::metadata(siege.broker().directory().join("ipcd.log")).unwrap().len();
    assert!(log < 64 * 1_024, "{log} bytes of log");
    siege.lift();
}

#[test]
fn b10_a_broker_that_may_start_nothing_works() {
    if !is_root() {
        return;
    }
    let user = STRANGER + 10; // no other test has processes of this user
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(directory.path(), Some(user), Some(user)).unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let socket = directory.path().join("ipcd.sock");
    let broker = Command::new("prlimit", ["--nproc=1:1".to_owned(), path_of_ipcd(), "--socket".to_owned()]);
    let running = broker.argument(&socket).user(user).start();
    running.expect_output("ipcd: ready on ");
    let mut bystander = Bystander::start(&socket, "bystander");
    let calls = bystander.call_while(|calls| calls < 200);
    assert_eq!(calls.failed, [""; 0]);
}

#[test]
fn b11_connections_that_come_and_go_delay_no_peer() {
    let mut siege = Siege::lay();
    for attack in [Attack::Connects, Attack::Hellos] {
        siege.endure(|broker| attack_for(attack, broker, 8));
    }
    siege.lift();
}
