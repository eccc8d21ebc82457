//! Floods of datagrams, good and bad (F). What becomes of each is in `end_to_end/datagrams.rs`.

use std::{
    fs::File,
    io::IoSlice,
    os::{fd::AsRawFd, unix::net::UnixDatagram},
    time::{Duration, Instant},
};

use ipc_protocol::Message;
use ipc_tests::{
    attack::{Attack, send_datagrams},
    broker::Broker,
    peer::call,
    siege::Siege,
};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

#[test]
fn f01_empty_datagrams_with_and_without_descriptors_delay_no_peer() {
    let mut siege = Siege::lay();
    let null = File::open("/dev/null").unwrap();
    siege.endure(|broker| {
        let socket = sender(broker);
        for _ in 0..50 {
            let _ = socket.send(b"");
            let rights = [null.as_raw_fd(); 16];
            let control = [ControlMessage::ScmRights(&rights)];
            let _ = sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(b"")], &control, MsgFlags::MSG_NOSIGNAL, None);
        }
    });
    siege.lift();
}

#[test]
fn f02_oversized_and_truncated_datagrams_delay_no_peer() {
    let mut siege = Siege::lay();
    let good = Message::Call(call(1, "steady", "")).to_vec();
    let large = Message::Call(call(1, "steady", vec![7; 150_000])).to_vec();
    siege.endure(|broker| {
        let socket = sender(broker);
        for len in 0..good.len() {
            let _ = socket.send(&good[..len]);
        }
        let _ = socket.send(&large);
    });
    siege.lift();
}

#[test]
fn f03_floods_of_datagrams_delay_no_peer() {
    let mut siege = Siege::lay();
    for attack in [Attack::Datagrams, Attack::DatagramGarbage] {
        siege.endure(|broker| {
            let end = Instant::now() + Duration::from_millis(300);
            send_datagrams(attack, broker.socket(), 8, || Instant::now() < end).unwrap();
        });
    }
    siege.lift();
}

#[test]
fn f05_senders_without_an_address_delay_no_peer() {
    let mut siege = Siege::lay();
    let question = Message::Call(call(1, "ipc.limits", "{}")).to_vec();
    siege.endure(|broker| {
        let socket = sender(broker);
        (0..100).for_each(|_| _ = socket.send(&question));
    });
    siege.lift();
}

fn sender(broker: &Broker) -> UnixDatagram {
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect(broker.datagram_socket()).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}
