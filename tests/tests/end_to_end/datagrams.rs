//! Datagrams: faulty ones are counted, calls are answered, and nothing makes the broker wait.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{ErrorKind, IoSlice},
    os::{
        fd::AsRawFd,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    sync::atomic::{AtomicUsize, Ordering},
};

use ipc_protocol::{Call, ErrorCode, Frame, Message, limits::MAX_BODY};
use ipc_tests::{
    broker::{Broker, STRANGER, is_root},
    command::Command,
    eventually::SOON,
    peer::{Peer, call, caller_of},
    programs::Programs,
    scene::Scene,
};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// A socket that can receive answers: bound to an abstract name, and connected to the broker.
fn answerable(broker: &Broker) -> UnixDatagram {
    let socket = bound();
    socket.connect(broker.datagram_socket()).unwrap();
    socket
}

/// A socket that can receive answers, but only as many as fit its queue.
fn bound() -> UnixDatagram {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("ipcd-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// A socket without a name.
fn anonymous(broker: &Broker) -> UnixDatagram {
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect(broker.datagram_socket()).unwrap();
    socket
}

fn one_way(target: &str, body: &'static str) -> Vec<u8> {
    Message::Call(Call { one_way: true, ..call(1, target, body) }).to_vec()
}

#[track_caller]
fn answer(socket: &UnixDatagram) -> Message {
    let mut buffer = vec![0; 70_000];
    let len = socket.recv(&mut buffer).expect("an answer");
    Message::decode(Frame::from_datagram(buffer[..len].to_vec().into(), MAX_BODY).unwrap()).unwrap()
}

#[test]
fn a_call_by_datagram_is_answered_under_its_own_number() {
    let mut scene = Scene::start();
    let mut service = Peer::connect(&scene.broker);
    service.register("echo", 1);
    let socket = answerable(&scene.broker);
    socket.send(&Message::Call(call(77, "echo", "hi")).to_vec()).unwrap();
    let delivered = service.delivered();
    service.answer(&delivered, "HI");
    let Message::Reply(reply) = answer(&socket) else { panic!("no reply") };
    assert_eq!((reply.id, reply.body), (77, "HI".into()));
    drop(service);
    scene.nothing_is_left();
}

#[test]
fn an_answer_too_long_for_a_datagram_becomes_too_large() {
    let broker = Broker::start();
    let mut service = Peer::connect(&broker);
    service.register("big", 1);
    let socket = answerable(&broker);
    socket.send(&Message::Call(call(1, "big", "")).to_vec()).unwrap();
    let delivered = service.delivered();
    service.answer(&delivered, vec![7; 100_000]);
    let Message::Error(failure) = answer(&socket) else { panic!("no error") };
    assert_eq!((failure.code, failure.retry), (ErrorCode::TOO_LARGE, ipc_protocol::Retry::Unknown));
}

#[test]
fn a_call_without_a_service_is_refused_and_counted() {
    let broker = Broker::start();
    let socket = answerable(&broker);
    socket.send(&Message::Call(call(3, "nobody", "")).to_vec()).unwrap();
    let Message::Error(failure) = answer(&socket) else { panic!("no error") };
    assert_eq!((failure.id, failure.code), (3, ErrorCode::NO_SERVICE));
    broker.expect_stat("datagrams_refused", 1);
}

#[test]
fn a_one_way_call_without_a_service_is_counted() {
    let broker = Broker::start();
    anonymous(&broker).send(&one_way("nobody", "")).unwrap();
    broker.expect_stat("datagrams_refused", 1);
}

#[test]
fn a_name_cannot_be_offered_by_datagram() {
    let broker = Broker::start();
    let socket = answerable(&broker);
    socket.send(&Message::Call(call(1, "ipc.register", r#"{"name":"x"}"#)).to_vec()).unwrap();
    let Message::Error(failure) = answer(&socket) else { panic!("no error") };
    assert_eq!(failure.code, ErrorCode::INVALID);
}

#[test]
fn an_empty_datagram_is_counted_and_ends_nothing() {
    let mut scene = Scene::start();
    let socket = anonymous(&scene.broker);
    socket.send(b"").unwrap();
    scene.broker.expect_stat("datagrams_malformed", 1);
    socket.send(&one_way("nobody", "")).unwrap();
    scene.broker.expect_stat("datagrams_refused", 1);
    scene.nothing_is_left();
}

#[test]
fn descriptors_in_a_datagram_are_closed_and_counted() {
    let mut scene = Scene::at(Broker::in_process(""));
    let null = File::open("/dev/null").unwrap();
    let socket = anonymous(&scene.broker);
    for (at, bytes) in [b"".to_vec(), b"x".to_vec(), one_way("bystander", "no")].into_iter().enumerate() {
        let descriptors = vec![null.as_raw_fd(); 100];
        let control = [ControlMessage::ScmRights(&descriptors)];
        match sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&bytes)], &control, MsgFlags::empty(), None) {
            Err(error) => assert_eq!(error, nix::Error::EPERM), // the kernel refuses to pass descriptors
            Ok(_) => scene.broker.expect_stat("datagrams_malformed", at as u64 + 1),
        }
    }
    scene.nothing_is_left();
}

#[test]
fn a_datagram_that_is_cut_short_or_too_long_is_counted() {
    let mut scene = Scene::start();
    let socket = anonymous(&scene.broker);
    let whole = one_way("bystander", "body");
    socket.send(&whole[..whole.len() - 1]).unwrap();
    socket.send(&[&whole[..], b"more"].concat()).unwrap();
    socket.send(&vec![0xc1; 66_000]).unwrap();
    socket.send(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    scene.broker.expect_stat("datagrams_malformed", 4);
    scene.nothing_is_left();
}

#[test]
fn a_frame_that_is_not_a_call_is_counted() {
    let broker = Broker::start();
    let socket = answerable(&broker);
    socket.send(&Message::Ping(1).to_vec()).unwrap();
    socket.send(&ipc_tests::peer::hello().to_vec()).unwrap();
    broker.expect_stat("datagrams_malformed", 2);
}

#[test]
fn a_call_without_a_return_address_is_counted() {
    let broker = Broker::start();
    anonymous(&broker).send(&Message::Call(call(1, "ipc.ping", "")).to_vec()).unwrap();
    broker.expect_stat("datagrams_malformed", 1);
}

#[test]
fn no_answer_is_sent_to_a_path() {
    let broker = Broker::start();
    let path = broker.directory().join("somebody.else");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.connect(broker.datagram_socket()).unwrap();
    socket.send(&Message::Call(call(1, "ipc.ping", "")).to_vec()).unwrap();
    broker.expect_stat("datagrams_malformed", 1);
    socket.set_nonblocking(true).unwrap();
    assert_eq!(socket.recv(&mut [0; 10]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn an_unread_answer_is_counted_and_makes_no_peer_wait() {
    let mut scene = Scene::start();
    let socket = bound();
    // The answers are not read. The kernel queues about max_dgram_qlen of them: 10 by default, 512 where systemd has set it.
    let queued = fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap();
    let sent = queued.trim().parse::<u64>().unwrap() + 200;
    for id in 1..=sent {
        socket.send_to(&Message::Call(call(id, "ipc.ping", "")).to_vec(), scene.broker.datagram_socket()).unwrap();
    }
    scene.bystanders_go_on();
    scene.broker.expect_stat("datagrams", sent);
    assert!(scene.broker.stat("datagram_answers_dropped") > 0);
    scene.nothing_is_left();
}

#[test]
fn a_stranger_that_does_not_read_costs_others_no_answers() {
    if !is_root() {
        return;
    }
    let mut scene = Scene::start();
    let deaf = scene.broker.crowd(env!("CARGO_BIN_EXE_crowd"), "datagrams", 3_000).user(STRANGER).interactive().start();
    deaf.expect_output("sent=3000");
    scene.broker.expect_stat("datagrams", 3_000);
    let other = answerable(&scene.broker);
    other.send(&Message::Call(call(1, "ipc.ping", "")).to_vec()).unwrap();
    assert!(matches!(answer(&other), Message::Reply(_)));
    drop(deaf);
    scene.nothing_is_left();
}

#[test]
fn a_permitted_user_who_hoards_answers_leaves_room_for_those_of_others() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(directory.path(), Some(STRANGER), Some(STRANGER)).unwrap();
    let socket = directory.path().join("ipcd.sock");
    let daemon = Command::new(&Programs::get().ipcd, ["--socket".as_ref(), socket.as_os_str()]).user(STRANGER).start();
    daemon.expect_output("ipcd: ready on ");
    let hoard = [OsStr::new("datagrams"), socket.as_os_str(), OsStr::new("1000")];
    let hoarder = Command::new(env!("CARGO_BIN_EXE_crowd"), hoard).user(STRANGER).interactive().start();
    hoarder.expect_output("sent=1000");
    let ask = || Command::ipcctl(["send", "--datagram", "ipc.stats", "-s"]).argument(&socket);
    (0..3).for_each(|_| _ = ask().prints_text());
}

#[test]
fn the_kernels_credentials_of_a_sender_reach_the_service() {
    let broker = Broker::start();
    let mut service = Peer::connect(&broker);
    service.register("who", 1);
    anonymous(&broker).send(&one_way("who", "")).unwrap();
    let (identity, peer) = caller_of(&service.delivered());
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw(), Some(std::process::id()));
    assert_eq!((identity.uid, identity.gid, identity.pid), own);
    assert!(identity.groups_incomplete && peer.is_none());
}

#[test]
fn a_broker_told_to_have_no_datagram_socket_creates_none() {
    let broker = Broker::with_config("datagram = false\n");
    assert!(!broker.datagram_socket().exists());
    Peer::connect(&broker).settle();
}
