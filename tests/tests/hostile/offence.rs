//! What a peer is told that broke the protocol.

use ipc_protocol::{ErrorCode, Header, Kind};
use ipc_tests::{broker::Broker, peer::Peer, scene::Scene};

/// The goodbye to a stranger whose first bytes are these. Checks that nothing else happens.
#[track_caller]
pub(crate) fn told_to(first_bytes: &[u8]) -> String {
    told(Peer::open, first_bytes)
}

/// The goodbye to a welcomed peer that sends these bytes. Checks that nothing else happens.
#[track_caller]
pub(crate) fn told_after_hello(bytes: &[u8]) -> String {
    told(Peer::connect, bytes)
}

#[track_caller]
fn told(peer_of: fn(&Broker) -> Peer, bytes: &[u8]) -> String {
    let mut scene = Scene::start();
    let mut offender = peer_of(&scene.broker);
    offender.send_bytes(bytes);
    let goodbye = offender.goodbye();
    assert_eq!(goodbye.code, ErrorCode::PROTOCOL);
    scene.nothing_is_left();
    goodbye.text
}

/// A header of a kind, changed.
pub(crate) fn header(kind: Kind, change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut header = Header::new(kind, 1);
    change(&mut header);
    header.to_bytes().to_vec()
}

/// Says hello, sends bytes, and waits until it is cut or has an answer.
pub(crate) fn offend(broker: &Broker, bytes: &[u8]) {
    let mut offender = Peer::connect(broker);
    let _ = offender.try_send_bytes(bytes);
    let _ = offender.receive();
}

/// Says hello, sends bytes that may be anything, and leaves once the broker has read them or has cut the connection.
pub(crate) fn tell(broker: &Broker, bytes: &[u8]) {
    let mut peer = Peer::connect(broker);
    let _ = peer.try_send_bytes(bytes);
    let _ = peer.stream().shutdown(std::net::Shutdown::Write);
    while peer.receive().is_some() {}
}
