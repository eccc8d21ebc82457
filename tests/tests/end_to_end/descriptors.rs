//! Unwanted descriptors. The kernel refuses to send them if it can (since Linux 6.16). If it can't, the broker closes them and cuts
//! their sender. Either way the broker has as many descriptors as before.

use std::{
    fs::File,
    io::IoSlice,
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixDatagram,
    },
};

use ipc_protocol::{ErrorCode, Header, Kind, Message, limits::MAX_BODY};
use ipc_tests::{
    broker::{Broker, keeps_descriptors_out},
    peer::{Peer, call, caller_of, hello, send_descriptors},
    scene::Scene,
};
use nix::{
    errno::Errno,
    sys::socket::{ControlMessage, MsgFlags, UnixCredentials, sendmsg},
};

/// Sends descriptors with the bytes, and asserts that the kernel or the broker refuses them.
#[track_caller]
fn cut_for(peer: impl FnOnce(&Broker) -> Peer, bytes: &[u8], count: usize) {
    let mut scene = Scene::at(Broker::in_process(""));
    let null = File::open("/dev/null").unwrap();
    let mut offender = peer(&scene.broker);
    match send_descriptors(&offender, bytes, null.as_fd(), count) {
        Err(error) => assert_eq!(error, Errno::EPERM),
        Ok(_) => {
            let goodbye = offender.goodbye();
            assert_eq!((goodbye.code, goodbye.text.as_str()), (ErrorCode::PROTOCOL, "descriptors are not taken here"));
        }
    }
    drop(offender);
    scene.nothing_is_left();
}

#[test]
fn the_kernel_refuses_descriptors_if_it_can() {
    if !keeps_descriptors_out() {
        return;
    }
    let scene = Scene::start();
    let null = File::open("/dev/null").unwrap();
    let mut peer = Peer::connect(&scene.broker);
    let early = Peer::open(&scene.broker);

    let sent = [&peer, &early].map(|to| send_descriptors(to, &Message::Ping(1).to_vec(), null.as_fd(), 1));
    let datagram = UnixDatagram::unbound().unwrap();
    datagram.connect(scene.broker.datagram_socket()).unwrap();
    let control = [ControlMessage::ScmRights(&[null.as_raw_fd()])];
    let in_datagram = sendmsg::<()>(datagram.as_raw_fd(), &[IoSlice::new(b"x")], &control, MsgFlags::empty(), None);

    assert_eq!((sent, in_datagram), ([Err(Errno::EPERM); 2], Err(Errno::EPERM)));
    peer.settle();
}

#[test]
fn a_descriptor_that_no_header_names_cuts_its_sender() {
    cut_for(Peer::connect, &Message::Ping(1).to_vec(), 1);
}

#[test]
fn a_descriptor_with_the_hello_cuts_its_sender() {
    cut_for(Peer::open, &hello().to_vec(), 1);
}

#[test]
fn a_descriptor_with_the_first_byte_of_a_frame_cuts_its_sender() {
    cut_for(Peer::connect, &[0xc1], 1);
}

#[test]
fn sixteen_descriptors_cut_their_sender() {
    cut_for(Peer::connect, &Message::Ping(1).to_vec(), 16);
}

#[test]
fn more_descriptors_than_there_is_room_for_are_all_closed() {
    cut_for(Peer::connect, &Message::Ping(1).to_vec(), 17);
}

#[test]
fn the_most_descriptors_that_the_kernel_takes_are_all_closed() {
    cut_for(Peer::connect, &Message::Ping(1).to_vec(), 253);
}

#[test]
fn a_header_that_counts_descriptors_is_a_violation_with_and_without_them() {
    let promise = Header { fds: 1, ..Header::new(Kind::PING, 1) }.to_bytes();
    cut_for(Peer::connect, &promise, 1);

    let mut scene = Scene::start();
    let mut offender = Peer::connect(&scene.broker);
    offender.send_bytes(&promise);
    assert_eq!(offender.goodbye().code, ErrorCode::PROTOCOL);
    scene.nothing_is_left();
}

#[test]
fn descriptors_in_the_middle_of_a_long_frame_are_closed() {
    let mut scene = Scene::at(Broker::in_process(""));
    let null = File::open("/dev/null").unwrap();
    let mut sender = Peer::connect(&scene.broker);
    let frame = Message::Call(call(1, "bystander", vec![7; MAX_BODY as usize / 2])).to_vec();
    sender.send_bytes(&frame[..200_000]);
    // The broker may cut the sender, or the kernel may close what there is no room for.
    let _ = send_descriptors(&sender, &frame[200_000..200_100], null.as_fd(), 16);
    drop(sender);
    scene.nothing_is_left();
}

#[test]
fn a_socket_sent_over_itself_is_not_kept() {
    let mut scene = Scene::at(Broker::in_process(""));
    let mut offender = Peer::connect(&scene.broker);
    match send_descriptors(&offender, &Message::Ping(1).to_vec(), offender.stream().as_fd(), 1) {
        Err(error) => assert_eq!(error, Errno::EPERM),
        Ok(_) => assert_eq!(offender.goodbye().code, ErrorCode::PROTOCOL),
    }
    drop(offender);
    scene.nothing_is_left();
}

#[test]
fn a_hundred_offenders_at_once_leave_nothing_behind() {
    let mut scene = Scene::at(Broker::in_process(""));
    let null = File::open("/dev/null").unwrap();
    let mut offenders: Vec<Peer> = (0..100).map(|_| Peer::connect(&scene.broker)).collect();
    offenders.retain(|peer| send_descriptors(peer, &[0xc1], null.as_fd(), 200).is_ok());
    scene.bystanders_go_on();
    offenders.iter_mut().for_each(|peer| assert_eq!(peer.goodbye().code, ErrorCode::PROTOCOL));
    drop(offenders);
    scene.nothing_is_left();
}

#[test]
fn credentials_sent_by_a_peer_are_not_believed() {
    if !ipc_tests::broker::is_root() {
        return; // the kernel lets only root forge credentials
    }
    let broker = Broker::start();
    let (mut service, sender) = (Peer::connect(&broker), Peer::connect(&broker));
    service.register("who", 1);
    let forged = UnixCredentials::from(nix::libc::ucred { pid: 1, uid: 54_321, gid: 54_321 });
    sender.send_with(&Message::Call(call(1, "who", "")).to_vec(), &[ControlMessage::ScmCredentials(&forged)]).unwrap();

    let (identity, peer) = caller_of(&service.delivered());
    assert_eq!((identity.uid, identity.pid, peer), (0, Some(std::process::id()), Some(sender.number())));
}
