//! Who is calling: only the kernel's word counts, and without a policy strangers may do nothing.

use std::fs;

use ipc_protocol::ErrorCode;
use ipc_tests::{
    broker::{Broker, STRANGER, can, is_root},
    command::Command,
    peer::{Peer, caller_of},
    programs::Programs,
    scene::Scene,
};

#[test]
fn another_user_is_denied_every_operation() {
    if !is_root() {
        return;
    }
    let mut scene = Scene::start();
    let as_stranger = |arguments: &[&str]| scene.broker.ipcctl(arguments).user(STRANGER).run();
    for arguments in [
        &["send", "bystander", "x"][..],
        &["send", "nobody", "x"],
        &["send", "--oneway", "bystander", "x"],
        &["send", "--datagram", "bystander", "x"],
        &["serve", "mine", "--", "cat"],
        &["list"],
        &["peers"],
        &["stats"],
        &["limits"],
        &["show", "bystander"],
        &["wait", "bystander"],
    ] {
        let finished = as_stranger(arguments);
        let line = finished.refused(77);
        assert!(line.contains("denied") && line.contains("54321"), "{arguments:?}: {line}");
    }
    scene.nothing_is_left();
}

#[test]
fn another_user_may_ping() {
    if !is_root() {
        return;
    }
    let scene = Scene::start();
    assert!(scene.broker.ipcctl(["ping"]).user(STRANGER).prints_text().ends_with(" us\n"));
}

#[test]
fn a_denial_is_logged_once_and_not_for_every_attempt() {
    if !is_root() {
        return;
    }
    let mut broker = Broker::in_process("");
    for _ in 0..30 {
        broker.ipcctl(["send", "x"]).user(STRANGER).run().refused(77);
    }
    let log = broker.daemon().unwrap().log();
    let lines = log.lines().filter(|line| line.contains("uid=54321")).count();
    assert!((1..=20).contains(&lines), "{lines} lines: {log}");
}

#[test]
fn only_the_owner_of_a_broker_and_root_may_call() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(directory.path(), Some(STRANGER), Some(STRANGER)).unwrap();
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let socket = directory.path().join("ipcd.sock");
    let owned = Command::new(&Programs::get().ipcd, ["--socket", socket.to_str().unwrap()]).user(STRANGER).start();
    owned.expect_output("ipcd: ready on ");
    let ask = |uid: u32| Command::ipcctl(["list", "-s"]).argument(&socket).user(uid).run().code;
    assert_eq!([ask(STRANGER), ask(0), ask(STRANGER + 1)], [0, 0, 77]);
}

#[test]
fn root_ignores_a_variable_that_leads_to_another_users_broker() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let runtime = directory.path().join("ipcd");
    fs::create_dir(&runtime).unwrap();
    for path in [directory.path(), &runtime] {
        std::os::unix::fs::chown(path, Some(STRANGER), Some(STRANGER)).unwrap();
    }
    let socket = runtime.join("ipcd.sock");
    let owned = Command::new(&Programs::get().ipcd, ["--socket", socket.to_str().unwrap()]).user(STRANGER).start();
    owned.expect_output("ipcd: ready on ");
    for call in [&["send", "vault", "secret"][..], &["send", "--datagram", "vault", "secret"]] {
        for (variable, value) in [("XDG_RUNTIME_DIR", directory.path()), ("IPCD_SOCKET", &socket)] {
            let finished = Command::ipcctl(call).env(variable, value).run();
            let line = finished.refused(77);
            assert!(line.contains("54321") && line.contains(variable), "{call:?} with {variable}: {line}");
        }
        let named = Command::ipcctl(call).argument("-s").argument(&socket).run();
        assert_eq!(named.code, 68, "{call:?}: {}", named.stderr);
    }
}

#[test]
fn a_service_receives_the_kernels_identity_of_its_caller() {
    let broker = Broker::start();
    let (mut service, mut caller) = (Peer::connect(&broker), Peer::connect(&broker));
    service.register("who", 1);
    caller.call("who", "");
    let (identity, peer) = caller_of(&service.delivered());
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw(), Some(std::process::id()));
    assert_eq!((identity.uid, identity.gid, identity.pid), own);
    assert_eq!(peer, Some(caller.number()));
    let mut groups: Vec<u32> = rustix::process::getgroups().unwrap().iter().map(|group| group.as_raw()).collect();
    groups.sort_unstable();
    let mut seen = identity.groups;
    seen.sort_unstable();
    assert_eq!(seen, groups);
}

#[test]
fn a_shell_service_receives_the_identity_of_its_caller() {
    let broker = Broker::start();
    let _service = broker.serve(
        "who",
        &["who", "--", "sh", "-c", "echo $IPC_PEER_UID $IPC_PEER_GID $IPC_PEER_PID $IPC_SERVICE.$IPC_METHOD"],
    );
    let running = broker.ipcctl(["send", "who.now"]).start();
    let pid = running.pid();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    assert_eq!(running.finish().stdout(), format!("{uid} {gid} {pid} who.now\n"));
}

#[test]
fn the_identity_is_that_of_the_process_that_connected() {
    if !is_root() {
        return;
    }
    let broker = Broker::start();
    let connected = std::os::unix::net::UnixStream::connect(broker.socket()).unwrap();
    let command = Command::shell("exec ipcctl -s fd:3 list 3<&0 </dev/null").input_descriptor(connected);
    assert_eq!(command.user(STRANGER).run().code, 0, "root connected");
}

#[test]
fn a_caller_from_outside_the_brokers_pid_namespace_has_no_pid() {
    let launcher = Command::new("unshare", ["--pid", "--fork", "--kill-child", &ipcd()]);
    if !can("unshare --pid --fork true") {
        return;
    }
    let broker = Broker::launched_by("", launcher);
    let (mut service, mut caller) = (Peer::connect(&broker), Peer::connect(&broker));
    service.register("who", 1);
    caller.call("who", "");
    let (identity, _) = caller_of(&service.delivered());
    assert_eq!((identity.uid, identity.pid), (rustix::process::geteuid().as_raw(), None));
    assert!(broker.peers().iter().all(|row| row.pid.is_none()));
}

#[test]
fn a_user_unmapped_in_the_brokers_namespace_is_denied() {
    if !is_root() || !can("unshare --user --map-root-user true") {
        return;
    }
    let broker = Broker::launched_by("", Command::new("unshare", ["--user", "--map-root-user", &ipcd()]));
    assert_eq!(broker.ipcctl(["list"]).run().code, 0, "root is mapped");
    broker.ipcctl(["list"]).user(STRANGER).run().refused(77);
}

#[test]
fn an_unmapped_broker_takes_no_other_unmapped_user_for_its_owner() {
    if !is_root() || !can("unshare --user true") {
        return;
    }
    let broker = Broker::launched_by("", Command::new("unshare", ["--user", &ipcd()]));
    broker.ipcctl(["list"]).user(STRANGER).run().refused(77);
}

#[test]
fn the_refusal_of_a_taken_name_names_the_holder() {
    let broker = Broker::start();
    let (mut holder, mut other) = (Peer::connect(&broker), Peer::connect(&broker));
    holder.register("only.one", 1);
    other.call("ipc.register", r#"{"name":"only.one"}"#);
    let failure = other.failure();
    assert_eq!(failure.code, ErrorCode::NAME_TAKEN);
    let expected = [format!("{}", holder.number()), format!("pid {}", std::process::id()), "only.one".to_owned()];
    assert!(expected.iter().all(|part| failure.text.contains(part)), "{}", failure.text);
}

#[test]
fn serving_a_taken_name_exits_73_and_names_the_holder() {
    let broker = Broker::start();
    let first = broker.serve("only", &["only", "--", "cat"]);
    let second = broker.ipcctl(["serve", "only", "--", "cat"]).run();
    let line = second.refused(73);
    assert!(line.contains("name_taken") && line.contains(&format!("pid {}", first.pid())), "{line}");
}

#[test]
fn the_brokers_own_names_cannot_be_registered() {
    let broker = Broker::start();
    let mut peer = Peer::connect(&broker);
    for name in ["ipc", "ipc.list"] {
        peer.call("ipc.register", format!(r#"{{"name":"{name}"}}"#));
        let failure = peer.failure();
        assert!(matches!(failure.code, ErrorCode::DENIED | ErrorCode::INVALID), "{name}: {failure:?}");
    }
}

#[test]
fn bad_names_are_invalid() {
    let broker = Broker::start();
    let mut peer = Peer::connect(&broker);
    let long = "x".repeat(256);
    for name in ["", ".", "a..b", ".a", "a.", "A", "a b", "a\u{0}b", "ü", "a*", "@1", &long] {
        peer.call("ipc.register", serde_json::json!({ "name": name }).to_string());
        assert_eq!(peer.failure().code, ErrorCode::INVALID, "{name:?}");
    }
}

fn ipcd() -> String {
    Programs::get().ipcd.display().to_string()
}
