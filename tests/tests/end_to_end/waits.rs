//! `ipcctl wait`, and `show` afterwards: names and brokers that come and go.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    time::Duration,
};

use ipc_tests::{
    broker::Broker,
    command::Command,
    eventually::{SOON, eventually},
    peer::Peer,
    programs::Programs,
};

// ---- several names

#[test]
fn waiting_for_several_to_go_ends_when_none_of_them_is_offered() {
    let broker = Broker::start();
    let (mut first, mut second) = (Peer::connect(&broker), Peer::connect(&broker));
    first.register("a", 1);
    second.register("b", 1);
    let mut waiting = broker.ipcctl(["-v", "wait", "--gone", "a", "b"]).start();
    waiting.expect_error("waiting for a, b to go");
    drop(first);
    broker.ipcctl(["wait", "--gone", "a"]).prints();
    let mut again = Peer::connect(&broker);
    again.register("a", 1);
    drop(second);
    broker.ipcctl(["wait", "--gone", "b"]).prints();
    broker.ipcctl(["-t", "300ms", "wait", "--gone", "a"]).run().refused(124);
    assert!(waiting.is_running(), "a is offered again");
    drop(again);
    assert_eq!(waiting.finish().code, 0);
}

#[test]
fn one_connection_is_enough_for_several_names() {
    let broker = Broker::start();
    let mut peer = Peer::connect(&broker);
    ["a", "b"].iter().for_each(|name| peer.register(name, 1));
    let connection = UnixStream::connect(broker.socket()).expect("the broker listens");
    let inherited = Command::shell("exec 3<&0 </dev/null; exec ipcctl wait a b").socket("fd:3");
    let finished = inherited.input_descriptor(connection).run();
    assert_eq!(finished.code, 0, "{}", finished.stderr);
}

#[test]
fn a_second_process_on_an_inherited_connection_learns_that_it_is_in_use() {
    let broker = Broker::start();
    let connection = UnixStream::connect(broker.socket()).expect("the broker listens");
    let shared = || connection.try_clone().expect("a second descriptor");
    let on_it = |verb: &str| {
        let script = format!("exec 3<&0 </dev/null; exec ipcctl {verb}");
        Command::shell(&script).socket("fd:3").input_descriptor(shared()).start()
    };
    let first = on_it("wait never");
    eventually(SOON, "the first among the peers", || {
        broker.ipcctl(["peers"]).prints_text().lines().any(|line| line.ends_with("  ipcctl wait"))
    });
    for process in [on_it("list"), first] {
        let finished = process.finish();
        assert!(matches!(finished.code, 74 | 76), "{}", finished.stderr);
        assert!(finished.stderr.contains("fd:3 is in use or has ended"), "{}", finished.stderr);
    }
}

// ---- how long

#[test]
fn a_wait_may_exceed_the_longest_call() {
    let broker = Broker::with_config("[limits]\ncall_max_ms = 100\ncall_default_ms = 100\n");
    let waiting = broker.ipcctl(["-t", "20s", "wait", "late"]).start();
    let sending = broker.ipcctl(["send", "--wait=20s", "late", "hi"]).start();
    let gone = broker.ipcctl(["-t", "400ms", "wait", "late"]).run();
    assert!(gone.refused(124).contains("400ms") && gone.took >= Duration::from_millis(400), "{}", gone.stderr);
    let _service = broker.serve("late", &["late", "--", "cat"]);
    assert_eq!(waiting.finish().code, 0);
    let sent = sending.finish();
    assert_eq!((sent.code, sent.stdout().as_str()), (0, "hi"), "{}", sent.stderr);
}

#[test]
fn a_broker_that_does_not_answer_is_not_reported_as_a_missing_name() {
    let mut broker = Broker::in_process("");
    broker.daemon().expect("it is a process").signal(nix::sys::signal::Signal::SIGSTOP);
    let finished = broker.ipcctl(["-t", "300ms", "wait", "x"]).run();
    assert!(finished.refused(69).contains("has not answered"), "{}", finished.stderr);
    broker.daemon().expect("it is a process").signal(nix::sys::signal::Signal::SIGCONT);
}

#[test]
fn a_wait_continues_at_the_next_broker() {
    let mut broker = Broker::in_process("");
    let waiting = broker.ipcctl(["-v", "wait", "late"]).start();
    waiting.expect_error("waiting for late");
    broker.restart();
    let _service = broker.serve("late", &["late", "--", "cat"]);
    assert_eq!(waiting.finish().code, 0);
}

// ---- the broker

#[test]
fn without_a_name_it_waits_for_the_broker() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let socket = directory.path().join("ipcd.sock");
    Command::ipcctl(["-t", "200ms", "wait"]).socket(&socket).run().refused(69);
    let waiting = Command::ipcctl(["wait"]).socket(&socket).start();
    let daemon = Command::new(&Programs::get().ipcd, ["--socket".as_ref(), socket.as_os_str()]).start();
    daemon.expect_output("ipcd: ready on ");
    assert_eq!(waiting.finish().code, 0);
    Command::ipcctl(["wait", "--gone"]).socket(&socket).run().refused(2);
}

#[test]
fn a_relative_runtime_directory_is_ignored() {
    let directory = tempfile::tempdir().expect("a directory");
    let finished = Command::ipcctl(["list"]).env("XDG_RUNTIME_DIR", "run").directory(directory.path()).run();
    assert!(!finished.stderr.contains(" run/ipcd"), "{}", finished.stderr);
}

// ---- show

#[test]
fn show_accepts_a_method_as_well_as_a_service() {
    let broker = Broker::start();
    let _service = broker.serve("text.upper", &["text.upper", "--", "tr", "a-z", "A-Z"]);
    let shown = |name: &str| broker.ipcctl(["show", name]).prints_text();
    assert!(shown("text.upper").contains("text.upper"));
    assert_eq!(shown("text.upper.now"), shown("text.upper"), "it answers any method");
    let finished = broker.ipcctl(["show", "nobody"]).run();
    let line = finished.refused(68);
    assert!(!line.contains("--wait"), "{line}");
}

#[test]
fn show_and_peers_say_what_a_process_does() {
    let broker = Broker::start();
    let waiting = broker.ipcctl(["-v", "wait", "never"]).start();
    waiting.expect_error("waiting for never");
    eventually(SOON, "the wait among the peers", || {
        broker.ipcctl(["peers"]).prints_text().lines().any(|line| line.ends_with("  ipcctl wait"))
    });
}
