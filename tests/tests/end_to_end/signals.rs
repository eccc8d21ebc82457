//! S28 and related cases: clean shutdown, reload, and signals that must change nothing.

use std::{
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use ipc_protocol::{ErrorCode, Message, Retry, control};
use ipc_tests::{
    broker::{AT_ONCE, Broker},
    eventually::eventually,
    peer::Peer,
    programs::Programs,
    scene::Scene,
};
use nix::sys::signal::Signal;

#[test]
fn s28_term_lets_a_running_call_finish_and_then_ends_the_broker() {
    let mut broker = Broker::in_process("");
    let (mut service, mut caller) = (Peer::connect(&broker), Peer::connect(&broker));
    service.register("slow", 1);
    let id = caller.call("slow", "question");
    let delivered = service.delivered();
    broker.daemon().unwrap().signal(Signal::SIGTERM);
    eventually(AT_ONCE, "no socket", || !broker.socket().exists());
    assert!(UnixStream::connect(broker.socket()).is_err(), "new connections are refused");

    service.answer(&delivered, "answer");
    assert_eq!(caller.reply(), (id, "answer".into()));
    assert_eq!(caller.goodbye().code, ErrorCode::UNAVAILABLE);
    assert_eq!(service.goodbye().code, ErrorCode::UNAVAILABLE);
    assert_eq!(broker.daemon().unwrap().exit_code(), 0);
    assert!(!broker.datagram_socket().exists());
}

#[test]
fn s28_a_draining_broker_refuses_new_calls_which_have_not_run() {
    let mut broker = Broker::in_process("");
    let (mut service, mut caller) = (Peer::connect(&broker), Peer::connect(&broker));
    service.register("slow", 2);
    caller.call("slow", "first");
    service.delivered();
    broker.daemon().unwrap().signal(Signal::SIGTERM);
    eventually(AT_ONCE, "no socket", || !broker.socket().exists());
    caller.call("slow", "second");
    let failure = caller.failure();
    assert_eq!((failure.code, failure.retry), (ErrorCode::UNAVAILABLE, Retry::Safe));
}

#[test]
fn s28_a_call_that_does_not_finish_in_time_ends_with_broker_lost() {
    let mut broker = Broker::in_process("[limits]\ndrain_ms = 300\n");
    let (mut service, mut caller) = (Peer::connect(&broker), Peer::connect(&broker));
    service.register("slow", 1);
    caller.call("slow", "running");
    caller.call("slow", "queued");
    service.delivered();
    caller.settle();
    broker.daemon().unwrap().signal(Signal::SIGTERM);
    let ends = [caller.failure(), caller.failure()].map(|failure| (failure.code, failure.retry));
    assert!(ends.contains(&(ErrorCode::BROKER_LOST, Retry::Unknown)), "{ends:?}");
    assert!(ends.contains(&(ErrorCode::BROKER_LOST, Retry::Safe)), "{ends:?}");
    assert_eq!(caller.goodbye().code, ErrorCode::UNAVAILABLE);
    assert_eq!(broker.daemon().unwrap().exit_code(), 0);
}

#[test]
fn s28_a_second_term_ends_at_once() {
    let mut broker = Broker::in_process("[limits]\ndrain_ms = 600000\n");
    let (mut service, mut caller) = (Peer::connect(&broker), Peer::connect(&broker));
    service.register("slow", 1);
    caller.call("slow", "");
    service.delivered();
    let daemon = broker.daemon().unwrap();
    daemon.signal(Signal::SIGTERM);
    eventually(AT_ONCE, "no socket", || !broker.socket().exists());
    broker.daemon().unwrap().signal(Signal::SIGTERM);
    assert_eq!(caller.failure().code, ErrorCode::BROKER_LOST);
    assert_eq!(broker.daemon().unwrap().exit_code(), 0);
}

#[test]
fn s28_a_wait_for_a_name_does_not_delay_the_end() {
    let mut broker = Broker::in_process("");
    let mut waiting = Peer::connect(&broker);
    waiting.call("ipc.wait", r#"{"name":"never"}"#);
    waiting.settle();
    broker.daemon().unwrap().signal(Signal::SIGTERM);
    let failure = waiting.failure();
    assert_eq!((failure.code, failure.retry), (ErrorCode::UNAVAILABLE, Retry::Safe));
    assert_eq!(broker.daemon().unwrap().exit_code(), 0);
}

#[test]
fn s28_int_is_like_term() {
    let mut broker = Broker::in_process("");
    broker.daemon().unwrap().signal(Signal::SIGINT);
    assert_eq!(broker.daemon().unwrap().exit_code(), 0);
    assert!(!broker.socket().exists());
}

#[test]
fn s28_a_healthy_broker_is_silent() {
    let mut broker = Broker::in_process("");
    let _service = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    assert_eq!(broker.ipcctl(["send", "upper", "x"]).prints_text(), "X");
    let daemon = broker.daemon().unwrap();
    daemon.signal(Signal::SIGTERM);
    daemon.exit_code();
    assert_eq!(daemon.log(), "");
}

#[test]
fn with_v_the_start_and_the_end_of_a_connection_name_the_same_peer() {
    let launcher = ipc_tests::command::Command::new(&Programs::get().ipcd, ["-v"]);
    let mut broker = Broker::launched_by("", launcher);
    drop(Peer::connect(&broker));
    let daemon = broker.daemon().unwrap();
    let (uid, pid) = (rustix::process::geteuid().as_raw(), std::process::id());
    daemon.expect_log(&format!("ipcd: event=connected peer=@1 uid={uid} pid={pid}\n"));
    daemon.expect_log(&format!("ipcd: event=closed peer=@1 uid={uid} pid={pid}\n"));
}

// ---- reload

fn limit(peer: &mut Peer, name: &str) -> u64 {
    let limits: control::Limits = peer.ask("limits", &control::Empty {});
    limits.limits.iter().find(|row| row.name == name).expect("a limit of that name").value
}

#[test]
fn s28_hup_applies_new_limits() {
    let mut broker = Broker::in_process("");
    let mut peer = Peer::connect(&broker);
    assert_eq!(limit(&mut peer, "names_per_peer"), 64);
    std::fs::write(broker.config(), "[limits]\nnames_per_peer = 1\n").unwrap();
    broker.daemon().unwrap().signal(Signal::SIGHUP);
    broker.daemon().unwrap().expect_log("event=reloaded");
    assert_eq!(limit(&mut peer, "names_per_peer"), 1);
    peer.register("one", 1);
    peer.call("ipc.register", r#"{"name":"two"}"#);
    assert_eq!(peer.failure().code, ErrorCode::BUSY);
}

#[test]
fn s28_hup_with_a_bad_file_keeps_the_old_limits_and_says_why() {
    let mut broker = Broker::in_process("[limits]\nnames_per_peer = 7\n");
    let mut peer = Peer::connect(&broker);
    std::fs::write(broker.config(), "[limits]\nnames_per_pear = 1\nhello_ms = 0\n").unwrap();
    let daemon = broker.daemon().unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.expect_log("event=reload_failed kept=old");
    let log = daemon.log();
    assert!(
        log.contains("ipcd.toml:2: 'names_per_pear' isn't a limit") && log.contains("ipcd.toml:3: hello_ms"),
        "{log}"
    );
    assert_eq!(log.lines().count(), 1, "{log}");
    assert_eq!(limit(&mut peer, "names_per_peer"), 7);
}

#[test]
fn hup_with_more_connections_than_descriptors_says_how_many_are_possible() {
    let mut broker = Broker::in_process("");
    std::fs::write(broker.config(), "[limits]\nconnections = 4000000000\n").unwrap();
    let daemon = broker.daemon().unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.expect_log("event=reloaded");
    daemon.expect_log("event=connections_lowered from=4000000000 to=");
}

#[test]
fn hup_ignores_a_file_that_others_can_write() {
    use std::os::unix::fs::PermissionsExt;
    let mut broker = Broker::in_process("[limits]\nnames_per_peer = 7\n");
    let mut peer = Peer::connect(&broker);
    std::fs::write(broker.config(), "[limits]\nnames_per_peer = 1\n").unwrap();
    std::fs::set_permissions(broker.config(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let daemon = broker.daemon().unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.expect_log("event=reload_failed kept=old");
    assert!(daemon.log().contains("others may write to it"), "{}", daemon.log());
    assert_eq!(limit(&mut peer, "names_per_peer"), 7);
}

#[test]
fn hup_with_a_huge_file_makes_no_peer_wait() {
    let mut broker = Broker::in_process("");
    std::fs::File::options().write(true).open(broker.config()).unwrap().set_len(200 << 20).unwrap();
    let daemon = broker.daemon().unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.expect_log("event=reload_failed kept=old");
    assert!(daemon.log().contains("it has more than 1048576 bytes"), "{}", daemon.log());
}

#[test]
fn a_storm_of_hup_loses_no_call() {
    let mut scene = Scene::at(Broker::in_process(""));
    let pid = scene.broker.daemon().unwrap().pid();
    let config = scene.broker.config();
    let storm = thread::spawn(move || {
        for round in 0..300 {
            let text = if round % 2 == 0 { "[limits]\nnames_per_peer = 9\n" } else { "[limits]\nnonsense = 9\n" };
            std::fs::write(&config, text).unwrap();
            nix::sys::signal::kill(ipc_tests::command::process(pid), Signal::SIGHUP).unwrap();
        }
    });
    (0..300).for_each(|_| scene.bystanders_go_on());
    storm.join().unwrap();
    scene.nothing_is_left();
}

// ---- signals that change nothing

#[test]
fn stop_and_cont_lose_no_call() {
    let mut scene = Scene::at(Broker::in_process(""));
    let pid = ipc_tests::command::process(scene.broker.daemon().unwrap().pid());
    let storm = thread::spawn(move || {
        for _ in 0..300 {
            nix::sys::signal::kill(pid, Signal::SIGSTOP).unwrap();
            nix::sys::signal::kill(pid, Signal::SIGCONT).unwrap();
        }
    });
    (0..300).for_each(|_| scene.bystanders_go_on());
    storm.join().unwrap();
    scene.nothing_is_left();
}

#[test]
fn a_deadline_during_a_stop_fires_once_and_cuts_no_peer() {
    let mut scene = Scene::at(Broker::in_process(""));
    let (mut service, mut caller) = (Peer::connect(&scene.broker), Peer::connect(&scene.broker));
    service.register("slow", 10);
    let calls: Vec<u64> = (0..10).map(|_| caller.call_within("slow", "", Duration::from_millis(100))).collect();
    (0..10).for_each(|_| drop(service.delivered()));
    let daemon = scene.broker.daemon().unwrap();
    daemon.pause();
    let start = Instant::now();
    eventually(AT_ONCE, "a second", || start.elapsed() > Duration::from_secs(1));
    daemon.signal(Signal::SIGCONT);
    let mut ended: Vec<u64> = (0..10).map(|_| caller.failure()).map(|failure| failure.id).collect();
    ended.sort_unstable();
    assert_eq!(ended, calls);
    (0..10).for_each(|_| assert_eq!(service.cancelled().reason, ErrorCode::DEADLINE));
    caller.settle();
    service.settle();
    drop((caller, service));
    scene.nothing_is_left();
}

#[test]
fn pipe_and_other_common_signals_end_nothing() {
    let mut scene = Scene::at(Broker::in_process(""));
    let daemon = scene.broker.daemon().unwrap();
    let harmless = [Signal::SIGPIPE, Signal::SIGCHLD, Signal::SIGWINCH, Signal::SIGURG, Signal::SIGCONT];
    harmless.into_iter().for_each(|signal| daemon.signal(signal));
    scene.bystanders_go_on();
    scene.nothing_is_left();
}

#[test]
fn an_unread_log_delays_nothing() {
    // Standard error is a full pipe that is never read. Descriptor 4 keeps it open.
    let launcher = ipc_tests::command::Command::shell(
        r#"mkfifo log; exec 4<>log; head -c 65536 /dev/zero >&4; exec ipcd "$@" 2>log"#,
    );
    let directory = tempfile::tempdir().unwrap();
    let launcher = launcher.argument("sh").directory(directory.path());
    let mut scene = Scene::at(Broker::launched_by("", launcher));
    for _ in 0..50 {
        let mut offender = Peer::open(&scene.broker);
        offender.send_bytes(b"nonsense");
        offender.goodbye();
    }
    scene.nothing_is_left();
}

#[test]
fn a_call_to_a_stopped_broker_is_answered_when_it_continues() {
    let mut scene = Scene::at(Broker::in_process(""));
    scene.broker.daemon().unwrap().pause();
    let mut patient = Peer::open(&scene.broker);
    patient.send_bytes(&[ipc_tests::peer::hello().to_vec(), Message::Ping(1).to_vec()].concat());
    scene.broker.daemon().unwrap().signal(Signal::SIGCONT);
    assert!(matches!(patient.receive(), Some(Message::Welcome(_))));
    assert_eq!(patient.receive(), Some(Message::Pong(1)));
    drop(patient);
    scene.nothing_is_left();
}
