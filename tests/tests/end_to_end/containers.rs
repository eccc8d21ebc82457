//! S25: a broker that is reached from other namespaces, as containers do that share a socket through a mounted path.

use std::{
    fs,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    sync::mpsc,
    thread,
    time::Duration,
};

use ipc_client::{Datagram, ErrorCode, Request, Response, Retry, Service, Target};
use ipc_protocol::Message;
use ipc_tests::{
    broker::{Broker, STRANGER, can, is_root},
    command::{Command, Running},
    eventually::SOON,
    peer::{Peer, call, caller_of},
    programs::Programs,
};
use nix::sched::{CloneFlags, unshare};

/// A container: its own mounts, processes and users. The user who makes it is root in it.
const CONTAINER: &str = "unshare --mount --pid --fork --kill-child --user --map-root-user";

/// Runs `ipcctl` with the broker's socket mounted as `/mnt/ipcd.sock`, apart from all else in the broker's directory.
const WITH_THE_SOCKET: &str = r#"
    mount -t tmpfs none /mnt && touch /mnt/ipcd.sock && mount --bind "$IPCD_SOCKET" /mnt/ipcd.sock || exit 99
    [ $(id -u) = 0 ] && [ $$ = 1 ] || exit 98
    ipcctl -s /mnt/ipcd.sock "$@"
"#;

/// `ipcctl` in a container that only the broker's socket is mounted into. It names the broker with -s: root of a container that does
/// not map root takes the socket for another user's, and follows no variable there.
fn contained(broker: &Broker, arguments: &[&str]) -> Command {
    let container = CONTAINER.split(' ').skip(1).chain(["sh", "-c", WITH_THE_SOCKET, "sh"]);
    Command::new("unshare", container.chain(arguments.iter().copied())).socket(broker.socket())
}

fn has_containers() -> bool {
    is_root() && can(&format!("{CONTAINER} mount -t tmpfs none /mnt"))
}

#[test]
fn s25_a_caller_in_a_container_has_the_uid_and_pid_that_it_has_outside() {
    if !has_containers() {
        return;
    }
    let broker = Broker::start();
    let mut service = Peer::connect(&broker);
    service.register("who", 1);
    let caller = contained(&broker, &["send", "who", "hello"]).start();
    let delivered = service.delivered();
    let (identity, _) = caller_of(&delivered);
    let pid = identity.pid.expect("its processes are visible from outside");
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap();
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap(), "ipcctl\n");
    assert_ne!(namespace(&pid.to_string()), namespace("self"), "it is in a pid namespace of its own");
    assert_eq!((identity.uid, identity.gid), (0, 0));
    service.answer(&delivered, "good day");
    assert_eq!(caller.finish().stdout(), "good day");
}

#[test]
fn s25_root_of_a_container_is_a_stranger_if_it_is_one_outside() {
    if !has_containers() {
        return;
    }
    let broker = Broker::start();
    let finished = contained(&broker, &["list"]).user(STRANGER).run();
    let line = finished.refused(77);
    assert!(line.contains("denied") && line.contains("54321"), "{line}");
    assert_eq!(contained(&broker, &["list"]).run().code, 0, "root's own container");
}

#[test]
fn s25_a_broker_in_a_container_serves_its_user_and_sees_no_pid_from_outside() {
    if !has_containers() {
        return;
    }
    let container = CONTAINER.split(' ').skip(1);
    let ipcd = Programs::get().ipcd.display().to_string();
    let broker = Broker::launched_by("", Command::new("unshare", container.chain([ipcd.as_str()])));
    let mut service = Peer::connect(&broker);
    service.register("who", 1);
    let caller: Running = broker.ipcctl(["send", "who"]).start();
    let delivered = service.delivered();
    let (identity, _) = caller_of(&delivered);
    assert_eq!((identity.uid, identity.gid, identity.pid), (0, 0, None));
    service.answer(&delivered, "");
    assert_eq!(caller.finish().code, 0);
    broker.ipcctl(["list"]).user(STRANGER).run().refused(77);
}

// ---- another network namespace: abstract names, which datagrams are answered to, are those of one network namespace

/// Does something on a thread in a network namespace of its own.
fn elsewhere<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let there = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may");
            act()
        });
        there.join().unwrap()
    })
}

fn has_network_namespaces() -> bool {
    is_root() && can("unshare --net true")
}

#[test]
fn s25_a_datagram_from_another_network_namespace_arrives_with_its_senders_identity() {
    if !has_network_namespaces() {
        return;
    }
    let broker = Broker::start();
    let mut service = Peer::connect(&broker);
    service.register("who", 1);
    elsewhere(|| {
        let datagram = Datagram::connect_to(&broker.address()).unwrap();
        datagram.one_way(Request::new(Target::parse("who").unwrap(), "from afar")).unwrap();
    });
    let delivered = service.delivered();
    let (identity, peer) = caller_of(&delivered);
    assert_eq!((identity.uid, identity.pid, peer), (0, Some(std::process::id()), None));
    assert_eq!(*delivered.body.bytes(), "from afar");
}

#[test]
fn s25_an_answer_for_a_namesake_in_another_network_namespace_is_not_taken_for_ones_own() {
    if !has_network_namespaces() {
        return;
    }
    let broker = Broker::start();
    let (release, released) = mpsc::sync_channel(0);
    let released = std::sync::Mutex::new(released);
    let answer = move |_: &ipc_client::Incoming, _: &ipc_client::Context| {
        released.lock().unwrap().recv_timeout(SOON).unwrap();
        Ok(Response::bytes("the right answer"))
    };
    let _service = Service::new("slow").address(&broker.address()).threads(1).any(answer).start().unwrap();
    let before = autobound();
    let datagram = Datagram::connect_to(&broker.address()).unwrap();
    let names: Vec<String> = autobound().into_iter().filter(|name| !before.contains(name)).collect();
    let answered = thread::scope(|scope| {
        let caller = scope.spawn(|| datagram.call_bytes(Request::new(Target::parse("slow").unwrap(), "")));
        broker.expect_stat("calls_delivered", 1);
        elsewhere(|| names.iter().for_each(|name| ask_as(name, &broker)));
        broker.expect_stat("datagrams", 1 + 5 * names.len() as u64);
        release.send(()).unwrap();
        caller.join().unwrap()
    });
    assert_eq!(answered.unwrap().body, "the right answer");
}

#[test]
fn s25_a_datagram_call_from_another_network_namespace_ends_at_its_deadline() {
    if !has_network_namespaces() {
        return;
    }
    let broker = Broker::start();
    let error = elsewhere(|| {
        let datagram = Datagram::connect_to(&broker.address()).unwrap();
        let ping = Request::new(Target::parse("ipc.ping").unwrap(), "{}").timeout(Duration::from_millis(100));
        datagram.call_bytes(ping).expect_err("an answer finds no way")
    });
    assert_eq!((error.code(), error.retry()), (ErrorCode::DEADLINE, Retry::Unknown));
    broker.expect_stat("datagram_answers_dropped", 1);
}

/// The abstract names in this network namespace that the kernel has chosen.
fn autobound() -> Vec<String> {
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    let names = sockets.lines().filter_map(|line| line.rsplit_once(" @")).map(|(_, name)| name.to_owned());
    names.filter(|name| name.len() == 5 && name.bytes().all(|digit| digit.is_ascii_hexdigit())).collect()
}

/// Sends calls by datagram from a socket of this name.
fn ask_as(name: &str, broker: &Broker) {
    let namesake = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
    (1..=5).for_each(|id| {
        let ping = Message::Call(call(id, "ipc.ping", "{}")).to_vec();
        namesake.send_to(&ping, broker.datagram_socket()).unwrap();
    });
}
