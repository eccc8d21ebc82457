//! What a broker inherits: standard streams, a service manager, sockets.

use std::{
    fs,
    os::{
        fd::{AsFd, AsRawFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream},
    },
    path::PathBuf,
};

use ipc_protocol::Message;
use ipc_tests::{
    broker::{is_root, keeps_descriptors_out},
    command::Command,
    eventually::{SOON, eventually},
    peer::{Peer, send_descriptors},
};
use nix::sys::signal::Signal;

use super::{UNUSABLE, answers, ipcd_at, place, ready, refusal};

// ---- standard streams and a service manager

#[test]
fn a_broker_starts_with_closed_standard_streams() {
    if !is_root() {
        return; // only root may look at its descriptors
    }
    let (_directory, socket) = place();
    let script = format!("exec ipcd --socket {} <&- >&- 2>&-", socket.display());
    let broker = Command::shell(&script).start();
    eventually(SOON, "a broker without standard streams", || UnixStream::connect(&socket).is_ok());
    answers(&socket);
    let of_streams = |number: u32| fs::read_link(format!("/proc/{}/fd/{number}", broker.pid())).unwrap();
    assert_eq!([0, 1, 2].map(of_streams), ["/dev/null"; 3].map(PathBuf::from));
}

#[test]
fn a_service_manager_is_told_when_the_broker_is_ready() {
    let (directory, socket) = place();
    let notify = directory.path().join("notify");
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let broker = ipcd_at(&socket).env("NOTIFY_SOCKET", &notify).start();
    let mut told = [0; 100];
    let len = manager.recv(&mut told).unwrap();
    assert_eq!(String::from_utf8_lossy(&told[..len]).trim_end(), "READY=1");
    answers(&socket);
    broker.signal(Signal::SIGTERM);
    let len = manager.recv(&mut told).unwrap();
    assert_eq!(String::from_utf8_lossy(&told[..len]).trim_end(), "STOPPING=1");
}

#[test]
fn a_service_manager_with_an_abstract_address_is_told() {
    let (_directory, socket) = place();
    let name = format!("ipcd-test-manager-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let _broker = ready(ipcd_at(&socket).env("NOTIFY_SOCKET", format!("@{name}")));
    let mut told = [0; 100];
    let len = manager.recv(&mut told).unwrap();
    assert_eq!(&told[..len], b"READY=1");
}

#[test]
fn a_service_manager_that_does_not_read_delays_nothing() {
    let (directory, socket) = place();
    let notify = directory.path().join("notify");
    let manager = UnixDatagram::bind(&notify).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"x", &notify).is_ok() {}
    let broker = ready(ipcd_at(&socket).env("NOTIFY_SOCKET", &notify));
    answers(&socket);
    broker.signal(Signal::SIGTERM);
    assert_eq!(broker.finish().code, 0);
    drop(manager);
}

#[test]
fn a_full_standard_output_delays_nothing() {
    let (directory, socket) = place();
    // A full pipe that is never read. Descriptor 4 keeps it open.
    let script =
        format!("mkfifo out; exec 4<>out; head -c 65536 /dev/zero >&4; exec ipcd --socket {} >out", socket.display());
    let broker = Command::shell(&script).directory(directory.path()).start();
    eventually(SOON, "a broker", || UnixStream::connect(&socket).is_ok()); // a socket is there before it listens
    answers(&socket);
    broker.signal(Signal::SIGTERM);
    assert_eq!(broker.finish().code, 0);
}

// ---- descriptors

#[test]
fn a_broker_in_another_program_leaves_its_descriptors_alone() {
    let script = "ulimit -Sn 512; exec ipcctl run -- sh -c 'ulimit -Sn'";
    assert_eq!(Command::shell(script).prints_text(), "512\n");
}

#[test]
fn an_inherited_listening_socket_is_used_and_outlives_the_broker() {
    let (_directory, socket) = place();
    let listener = UnixListener::bind(&socket).unwrap();
    let early = UnixStream::connect(&socket).unwrap();
    let script = format!("exec env LISTEN_PID=$$ LISTEN_FDS=1 ipcd --socket {} 3<&0 </dev/null", socket.display());
    let broker = ready(Command::shell(&script).input_descriptor(listener.try_clone().unwrap()));
    Peer::on(early).greet().settle();
    broker.signal(Signal::SIGTERM);
    assert_eq!(broker.finish().code, 0);
    assert!(UnixStream::connect(&socket).is_ok(), "a new connection waits for the next broker");
    assert!(listener.as_raw_fd() > 2);
}

#[test]
fn an_inherited_descriptor_that_is_not_listening_is_refused() {
    let (_directory, socket) = place();
    let script = format!("exec env LISTEN_PID=$$ LISTEN_FDS=1 ipcd --socket {} 3</dev/null", socket.display());
    assert!(refusal(Command::shell(&script), UNUSABLE).contains("LISTEN_FDS: descriptor 3 isn't an AF_UNIX socket"));
    let (unconnected, _other) = UnixStream::pair().unwrap();
    let script = format!("exec env LISTEN_PID=$$ LISTEN_FDS=1 ipcd --socket {} 3<&0", socket.display());
    let line = refusal(Command::shell(&script).input_descriptor(unconnected), UNUSABLE);
    assert!(line.contains("neither a listening stream socket nor a datagram socket"), "{line}");
}

#[test]
fn an_inherited_datagram_socket_identifies_its_senders() {
    let (_directory, socket) = place();
    let listener = UnixListener::bind(&socket).unwrap();
    let datagram = UnixDatagram::bind(format!("{}.dgram", socket.display())).unwrap(); // has not set SO_PASSCRED
    let kept = rustix::io::dup(&datagram).unwrap(); // stays open for the broker's process
    let handed_down =
        format!("LISTEN_PID=$$ LISTEN_FDS=2 ipcd --socket {} 3<&0 4<&{}", socket.display(), kept.as_raw_fd());
    // bash, because dash accepts no descriptor above 9 in a redirection.
    let script = format!("exec bash -c 'exec env {handed_down} </dev/null'");
    let _broker = ready(Command::shell(&script).input_descriptor(listener));
    let ping = Command::ipcctl(["-t", "2s", "send", "--datagram", "ipc.ping"]).socket(&socket);
    assert_eq!(ping.prints_text(), "{}\n");
}

#[test]
fn a_listening_socket_can_be_the_address() {
    let (_directory, socket) = place();
    let listener = UnixListener::bind(&socket).unwrap();
    let script = "exec ipcd --socket fd:3 3<&0 </dev/null";
    let _broker = ready(Command::shell(script).input_descriptor(listener));
    let mut peer = Peer::on(UnixStream::connect(&socket).unwrap()).greet();
    peer.settle();
    if keeps_descriptors_out() {
        let sent = send_descriptors(&peer, &Message::Ping(1).to_vec(), std::io::stderr().as_fd(), 1);
        assert_eq!(sent, Err(nix::Error::EPERM), "no descriptor gets in");
    }
    let (connected, _other) = UnixStream::pair().unwrap();
    let line = refusal(Command::shell(script).input_descriptor(connected), UNUSABLE);
    assert!(line.contains("descriptor 3 isn't a listening stream socket"), "{line}");
}

#[test]
fn an_inherited_descriptor_that_is_not_a_unix_socket_is_refused() {
    let (_directory, socket) = place();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let script = format!("exec env LISTEN_PID=$$ LISTEN_FDS=1 ipcd --socket {} 3<&0", socket.display());
    let line = refusal(Command::shell(&script).input_descriptor(tcp), UNUSABLE);
    assert!(line.contains("LISTEN_FDS: descriptor 3"), "{line}");
}

#[test]
fn a_wrong_count_of_descriptors_is_refused() {
    let (_directory, socket) = place();
    let count = |listen_fds: &str| {
        let script = format!("exec env LISTEN_PID=$$ LISTEN_FDS={listen_fds} ipcd --socket {}", socket.display());
        refusal(Command::shell(&script), UNUSABLE)
    };
    assert!(count("1").contains("LISTEN_FDS"), "none was handed down: 3 is the broker's own");
    assert!(count("1000").contains("LISTEN_FDS"));
    assert!(count("4294967295").contains("LISTEN_FDS"));
    assert!(count("some").contains("LISTEN_FDS"));
    assert!(refusal(ipcd_at(&socket).env("LISTEN_PID", "me").env("LISTEN_FDS", "1"), UNUSABLE).contains("LISTEN_PID"));
    assert!(!socket.exists());
}

#[test]
fn descriptors_for_another_process_are_left_alone() {
    let (_directory, socket) = place();
    let _broker = ready(ipcd_at(&socket).env("LISTEN_PID", "1").env("LISTEN_FDS", "5"));
    answers(&socket);
}
