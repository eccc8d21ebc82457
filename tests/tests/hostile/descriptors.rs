//! Descriptors that no one asked for. Those of a stranger may take for ever to close: the broker must neither wait for them nor keep
//! them, whether the kernel refuses to send them (since Linux 6.16) or not.

use std::{
    fs::File,
    io::IoSlice,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::net::UnixDatagram,
    },
    time::{Duration, Instant},
};

use ipc_protocol::{Message, limits::MAX_BODY};
use ipc_tests::{
    bait::Bait,
    broker::{AT_ONCE, Broker, is_root, keeps_descriptors_out},
    command::Command,
    eventually::eventually,
    peer::{Peer, call, hello, send_descriptors},
    proc,
    programs::Programs,
    scene::Scene,
};
use nix::{
    errno::Errno,
    sys::{
        signal::Signal,
        socket::{ControlMessage, MsgFlags, sendmsg},
    },
};

/// What the broker's kernel does about descriptors.
#[derive(Clone, Copy)]
enum Kernel {
    /// This one, which may refuse them.
    Own,
    /// One that can't.
    Old,
}

impl Kernel {
    fn broker(self, toml: &str) -> Broker {
        match self {
            Self::Own => Broker::in_process(toml),
            Self::Old => Broker::launched_by(toml, Command::new(env!("CARGO_BIN_EXE_old_kernel"), [path_of_ipcd()])),
        }
    }
}

// ---- how descriptors come, to a broker that is stopped until the test has closed its own copies

/// Peers that have sent a descriptor, and whether the kernel has let it through.
struct Sent {
    _peers: Vec<Peer>,
    arrived: bool,
}

type Way = fn(&mut Broker, BorrowedFd<'_>) -> Sent;

fn with_the_hello(broker: &mut Broker, bait: BorrowedFd<'_>) -> Sent {
    let peer = Peer::open(broker);
    pause(broker);
    let arrived = send_descriptors(&peer, &hello().to_vec(), bait, 1).is_ok();
    Sent { _peers: vec![peer], arrived }
}

fn with_the_most_of_them(broker: &mut Broker, bait: BorrowedFd<'_>) -> Sent {
    let peer = Peer::connect(broker);
    pause(broker);
    let arrived = send_descriptors(&peer, &Message::Ping(1).to_vec(), bait, 253).is_ok();
    Sent { _peers: vec![peer], arrived }
}

fn in_a_datagram(broker: &mut Broker, bait: BorrowedFd<'_>) -> Sent {
    pause(broker);
    let fds = [bait.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&fds)];
    let socket = datagrams_to(broker);
    let sent = sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(b"x")], &control, MsgFlags::empty(), None);
    Sent { _peers: Vec::new(), arrived: sent.is_ok() }
}

fn in_a_long_frame(broker: &mut Broker, bait: BorrowedFd<'_>) -> Sent {
    let mut peer = Peer::connect(broker);
    let frame = Message::Call(call(1, "bystander", vec![7; MAX_BODY as usize / 2])).to_vec();
    peer.send_bytes(&frame[..100_000]);
    eventually(AT_ONCE, "a frame in assembly", || broker.stat("bytes_held") >= 100_000); // what has come of it
    pause(broker);
    let arrived = send_descriptors(&peer, &frame[100_000..100_100], bait, 1).is_ok();
    Sent { _peers: vec![peer], arrived }
}

fn unread_behind_a_violation(broker: &mut Broker, bait: BorrowedFd<'_>) -> Sent {
    let mut peer = Peer::connect(broker);
    pause(broker);
    peer.send_bytes(&[0xff; 40_000]);
    let arrived = send_descriptors(&peer, &[0xff], bait, 1).is_ok();
    Sent { _peers: vec![peer], arrived }
}

fn out_of_band(broker: &mut Broker, bait: BorrowedFd<'_>) -> Sent {
    let peer = Peer::connect(broker);
    pause(broker);
    let control = [ControlMessage::ScmRights(&[bait.as_raw_fd()])];
    let sent = sendmsg::<()>(peer.stream().as_raw_fd(), &[IoSlice::new(b"x")], &control, MsgFlags::MSG_OOB, None);
    Sent { _peers: vec![peer], arrived: sent.is_ok() }
}

/// Over connections that are refused: there are two bystanders, and place for four.
fn to_a_full_broker(broker: &mut Broker, bait: BorrowedFd<'_>) -> Sent {
    pause(broker);
    let peers: Vec<Peer> = (0..4).map(|_| Peer::open(broker)).collect();
    let arrived = peers.iter().all(|peer| send_descriptors(peer, b"x", bait, 1).is_ok());
    Sent { _peers: peers, arrived }
}

fn pause(broker: &mut Broker) {
    broker.daemon().expect("a process").pause();
}

/// Lets the broker go on with a descriptor of which it has the last copy, if it has one.
fn spring(broker: &mut Broker, bait: &mut Bait, sent: &Sent) {
    if sent.arrived {
        bait.let_go();
    }
    broker.daemon().expect("a process").signal(Signal::SIGCONT);
}

// ---- what must hold

/// The bystanders are served, the broker ends in time, and another one takes its place: while the descriptor can't be closed.
#[track_caller]
fn survives(kernel: Kernel, mut bait: Bait, way: Way) {
    let mut scene = Scene::at(kernel.broker("[limits]\nconnections = 4\nconnections_reserved = 0\n"));
    let sent = way(&mut scene.broker, bait.as_fd());
    spring(&mut scene.broker, &mut bait, &sent);
    goes_on(&mut scene);
    drop(sent);
    goes_on(&mut scene);

    let daemon = scene.broker.daemon().expect("a process");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.exit_code(), 0, "{}", daemon.log());
    scene.broker.start_again();
    Peer::connect(&scene.broker).settle();
}

/// No call of the bystanders is late.
#[track_caller]
fn goes_on(scene: &mut Scene) {
    for _ in 0..50 {
        let start = Instant::now();
        scene.bystanders_go_on();
        let took = start.elapsed();
        assert!(took <= late(), "a call took {took:?}");
    }
}

/// On a busy machine any process may be late. One that waits for a descriptor is late for an hour.
fn late() -> Duration {
    if soak() { Duration::from_millis(100) } else { AT_ONCE }
}

fn soak() -> bool {
    std::env::var_os("IPCD_SOAK").is_some_and(|value| value == "1")
}

/// On this kernel and on an old one.
#[track_caller]
fn survives_a_lingering_socket(way: Way) {
    survives(Kernel::Own, Bait::lingering(), way);
    survives(Kernel::Old, Bait::lingering(), way);
}

/// On this kernel and on an old one.
#[track_caller]
fn survives_a_silent_file(way: Way) {
    if is_root() {
        survives(Kernel::Own, Bait::silent(), way);
        survives(Kernel::Old, Bait::silent(), way);
    }
}

#[test]
fn e07_a_lingering_socket_with_the_hello_stops_nothing() {
    survives_a_lingering_socket(with_the_hello);
}

#[test]
fn e07_a_silent_file_with_the_hello_stops_nothing() {
    survives_a_silent_file(with_the_hello);
}

#[test]
fn e07_a_lingering_socket_sent_253_times_at_once_stops_nothing() {
    survives_a_lingering_socket(with_the_most_of_them);
}

#[test]
fn e07_a_silent_file_sent_253_times_at_once_stops_nothing() {
    survives_a_silent_file(with_the_most_of_them);
}

#[test]
fn e07_a_lingering_socket_in_a_datagram_stops_nothing() {
    survives_a_lingering_socket(in_a_datagram);
}

#[test]
fn e07_a_silent_file_in_a_datagram_stops_nothing() {
    survives_a_silent_file(in_a_datagram);
}

#[test]
fn e07_a_lingering_socket_in_a_long_frame_stops_nothing() {
    survives_a_lingering_socket(in_a_long_frame);
}

#[test]
fn e07_a_silent_file_in_a_long_frame_stops_nothing() {
    survives_a_silent_file(in_a_long_frame);
}

#[test]
fn e07_a_lingering_socket_behind_a_violation_stops_nothing() {
    survives_a_lingering_socket(unread_behind_a_violation);
}

#[test]
fn e07_a_silent_file_behind_a_violation_stops_nothing() {
    survives_a_silent_file(unread_behind_a_violation);
}

#[test]
fn e07_a_lingering_socket_out_of_band_stops_nothing() {
    survives_a_lingering_socket(out_of_band);
}

#[test]
fn e07_a_silent_file_out_of_band_stops_nothing() {
    survives_a_silent_file(out_of_band);
}

#[test]
fn e07_a_lingering_socket_over_connections_that_are_refused_stops_nothing() {
    survives_a_lingering_socket(to_a_full_broker);
}

#[test]
fn e07_a_silent_file_over_connections_that_are_refused_stops_nothing() {
    survives_a_silent_file(to_a_full_broker);
}

#[test]
fn e07_lingering_sockets_that_wait_to_be_accepted_do_not_keep_a_broker_from_ending() {
    let mut broker = Kernel::Old.broker("");
    let mut bait = Bait::lingering();
    let daemon = broker.daemon().expect("a process");
    daemon.pause();
    daemon.signal(Signal::SIGTERM);
    let peers: Vec<Peer> = (0..100).map(|_| Peer::open(&broker)).collect();
    peers.iter().for_each(|peer| assert!(send_descriptors(peer, &hello().to_vec(), bait.as_fd(), 1).is_ok()));
    bait.let_go();

    let daemon = broker.daemon().expect("a process");
    daemon.signal(Signal::SIGCONT);
    assert_eq!(daemon.exit_code(), 0, "{}", daemon.log());
    broker.start_again();
    Peer::connect(&broker).settle();
}

#[test]
fn e07_what_could_not_be_closed_is_closed_as_soon_as_it_can_be() {
    let mut scene = Scene::at(Kernel::Old.broker(""));
    let ways: [Way; 5] = [with_the_hello, in_a_datagram, in_a_datagram, out_of_band, unread_behind_a_violation];
    let baits = ways.map(|way| {
        let mut bait = Bait::lingering();
        let sent = way(&mut scene.broker, bait.as_fd());
        spring(&mut scene.broker, &mut bait, &sent);
        bait
    });
    goes_on(&mut scene);
    drop(baits);
    scene.nothing_is_left();
    datagrams_to(&scene.broker).send(b"x").unwrap();
    scene.broker.expect_stat("datagrams_malformed", 3);
}

/// The one thing that a stranger can stop for others on an old kernel: connecting, once more connections wait to be closed than there
/// is room for. It goes on when they are closed.
#[test]
fn e07_too_many_connections_that_can_not_be_closed_keep_newcomers_waiting_and_no_one_else() {
    let few =
        Command::new("prlimit", ["--nofile=128:128".into(), env!("CARGO_BIN_EXE_old_kernel").into(), path_of_ipcd()]);
    let mut scene = Scene::at(Broker::launched_by("", few));
    let mut bait = Bait::lingering();
    let sent = out_of_band(&mut scene.broker, bait.as_fd());
    spring(&mut scene.broker, &mut bait, &sent);
    goes_on(&mut scene);
    let null = File::open("/dev/null").unwrap();
    let peers: Vec<Peer> = (0..60).map(|_| Peer::open(&scene.broker)).collect();
    for peer in &peers {
        assert!(send_descriptors(peer, b"x", null.as_fd(), 1).is_ok());
    }
    goes_on(&mut scene);
    let newcomer = Peer::open(&scene.broker);
    scene.broker.daemon().expect("a process").expect_log("event=accept_paused");
    goes_on(&mut scene);
    drop((peers, sent, bait));
    newcomer.greet().settle();
    scene.nothing_is_left();
}

// ---- other faults

#[test]
fn e01_the_most_descriptors_that_can_be_sent_are_all_gone_afterwards() {
    let mut scene = Scene::at(Kernel::Old.broker(""));
    let null = File::open("/dev/null").unwrap();
    let mut offender = Peer::connect(&scene.broker);
    assert!(send_descriptors(&offender, &Message::Ping(1).to_vec(), null.as_fd(), 253).is_ok());
    assert_eq!(offender.goodbye().text, "descriptors are not taken here");
    scene.nothing_is_left();
}

#[test]
fn e03_a_broker_without_a_free_descriptor_refuses_those_that_are_sent_all_the_same() {
    let few =
        Command::new("prlimit", ["--nofile=64:64".into(), env!("CARGO_BIN_EXE_old_kernel").into(), path_of_ipcd()]);
    let mut scene = Scene::at(Broker::launched_by("", few));
    let null = File::open("/dev/null").unwrap();
    let mut peers: Vec<Peer> = (0..20).map(|_| Peer::connect(&scene.broker)).collect();
    peers
        .iter()
        .for_each(|peer| assert!(send_descriptors(peer, &Message::Ping(1).to_vec(), null.as_fd(), 253).is_ok()));
    peers.iter_mut().for_each(|peer| assert_eq!(peer.goodbye().text, "descriptors are not taken here"));
    scene.nothing_is_left();
}

#[test]
fn e05_a_connection_sent_over_itself_is_not_kept() {
    let mut scene = Scene::at(Kernel::Old.broker(""));
    let mut offender = Peer::connect(&scene.broker);
    assert!(send_descriptors(&offender, &Message::Ping(1).to_vec(), offender.stream().as_fd(), 1).is_ok());
    assert_eq!(offender.goodbye().text, "descriptors are not taken here");
    drop(offender);
    scene.nothing_is_left();
}

#[test]
fn e05_a_ring_of_connections_sent_over_one_another_is_not_kept() {
    let mut scene = Scene::at(Kernel::Old.broker(""));
    let peers: Vec<Peer> = (0..10).map(|_| Peer::open(&scene.broker)).collect();
    for (at, peer) in peers.iter().enumerate() {
        let next = &peers[(at + 1) % peers.len()];
        assert!(send_descriptors(peer, b"x", next.stream().as_fd(), 1).is_ok());
    }
    drop(peers);
    scene.nothing_is_left();
}

#[test]
fn e11_frames_before_a_descriptor_in_the_same_batch_are_not_answered_after_the_goodbye() {
    let scene = Scene::at(Kernel::Old.broker(""));
    let null = File::open("/dev/null").unwrap();
    let mut offender = Peer::connect(&scene.broker);
    let batch: Vec<u8> = (1..=3).flat_map(|id| Message::Ping(id).to_vec()).collect();
    assert!(send_descriptors(&offender, &batch, null.as_fd(), 1).is_ok());
    assert_eq!(offender.goodbye().text, "descriptors are not taken here");
}

#[test]
fn e08_a_handler_has_the_descriptors_that_serve_was_started_with_and_nothing_else() {
    let broker = Broker::in_process("");
    let _held = Peer::connect(&broker);
    let _service = broker.serve("open", &["open", "--", "sh", "-c", "exec ls /proc/self/fd"]);
    let listed = broker.ipcctl(["send", "open"]).run();
    assert_eq!(listed.stdout(), own_descriptors(), "{}", listed.stderr);
}

#[test]
fn e08_a_command_with_a_broker_of_its_own_has_the_descriptors_that_run_was_started_with_and_nothing_else() {
    let listed = Command::ipcctl(["run", "--", "ls", "/proc/self/fd"]).run();
    assert_eq!(listed.stdout(), own_descriptors(), "{}", listed.stderr);
}

/// What any command of this test has, and the directory that is listed.
fn own_descriptors() -> String {
    Command::new("ls", ["/proc/self/fd"]).run().stdout()
}

// ---- many

#[test]
fn a_hundred_thousand_descriptors_are_refused_and_none_is_left() {
    if keeps_descriptors_out() {
        none_of_many_is_left(Kernel::Own);
    }
}

#[test]
fn a_hundred_thousand_descriptors_on_an_old_kernel_are_closed_and_none_is_left() {
    none_of_many_is_left(Kernel::Old);
}

/// Sends many descriptors, 250 at a time, and half of these in datagrams.
#[track_caller]
fn none_of_many_is_left(kernel: Kernel) {
    let mut scene = Scene::at(kernel.broker(""));
    let null = File::open("/dev/null").unwrap();
    let rounds = if soak() { 2_000 } else { 200 };
    for _ in 0..rounds {
        let peer = Peer::open(&scene.broker);
        let refused = send_descriptors(&peer, b"x", null.as_fd(), 250) == Err(Errno::EPERM);
        assert_eq!(refused, matches!(kernel, Kernel::Own));
        send_many_in_a_datagram(&scene.broker, null.as_fd());
    }
    scene.nothing_is_left();
    let pid = scene.broker.daemon().expect("a process").pid();
    let before = proc::resident_kib(pid);
    goes_on(&mut scene);
    assert!(proc::resident_kib(pid) < before + 1_024);
}

/// Sends 250 descriptors in a datagram, as soon as there is room for it.
fn send_many_in_a_datagram(broker: &Broker, descriptor: BorrowedFd<'_>) {
    let socket = datagrams_to(broker);
    socket.set_nonblocking(true).unwrap();
    let fds = [descriptor.as_raw_fd(); 250];
    let control = [ControlMessage::ScmRights(&fds)];
    eventually(AT_ONCE, "room for a datagram", || {
        sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(b"x")], &control, MsgFlags::empty(), None)
            != Err(Errno::EAGAIN)
    });
}

fn datagrams_to(broker: &Broker) -> UnixDatagram {
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect(broker.datagram_socket()).unwrap();
    socket
}

fn path_of_ipcd() -> String {
    Programs::get().ipcd.display().to_string()
}
