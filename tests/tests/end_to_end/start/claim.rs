//! Whose the path is: that of another broker, of another program, or of one that is gone.

use std::{
    fs,
    os::unix::net::{UnixDatagram, UnixListener, UnixStream},
};

use ipc_tests::{
    broker::{Broker, is_soak},
    command::Running,
    eventually::{SOON, eventually},
    peer::Peer,
};
use nix::sys::signal::Signal;

use super::{TAKEN, answers, ipcd_at, place, ready, refusal};

// ---- S16: the address is in use

#[test]
fn s16_a_second_broker_fails_and_names_the_pid_of_the_first() {
    let mut broker = Broker::in_process("");
    let line = refusal(ipcd_at(broker.socket()), TAKEN);
    let pid = broker.daemon().unwrap().pid();
    assert!(line.contains(&format!("(pid {pid})")), "{line}");
    Peer::connect(&broker).settle();
}

#[test]
fn s16_a_broker_starts_where_one_was_killed() {
    let mut broker = Broker::in_process("");
    for _ in 0..rounds() {
        broker.daemon().unwrap().kill();
        assert!(broker.socket().exists(), "the socket of the dead one is still there");
        broker.start_again();
        Peer::connect(&broker).settle();
    }
}

#[test]
fn s16_of_two_brokers_started_at_once_one_wins_and_the_other_names_it() {
    for _ in 0..rounds() {
        let (_directory, socket) = place();
        let mut both = [ipcd_at(&socket).start(), ipcd_at(&socket).start()];
        eventually(SOON, "that one of two has ended", || both.iter_mut().any(|one| !one.is_running()));
        let [mut first, second] = both;
        let (winner, loser) = if first.is_running() { (first, second) } else { (second, first) };
        let finished = loser.finish();
        assert!(finished.refused(TAKEN).contains(&format!("(pid {})", winner.pid())), "{}", finished.stderr);
        winner.expect_output("ipcd: ready on ");
        answers(&socket);
        winner.signal(Signal::SIGKILL);
        winner.finish();
        let next = ready(ipcd_at(&socket));
        answers(&socket);
        drop(next);
    }
}

/// The number of times a start is repeated: 20, or 200 with `IPCD_SOAK=1`.
fn rounds() -> usize {
    if is_soak() { 200 } else { 20 }
}

#[test]
fn s16_of_eight_brokers_started_at_once_one_wins() {
    let (_directory, socket) = place();
    let mut all: Vec<Running> = (0..8).map(|_| ipcd_at(&socket).start()).collect();
    eventually(SOON, "that seven of eight have ended", || {
        all.iter_mut().filter_map(|one| one.is_running().then_some(())).count() == 1
    });
    let at = all.iter_mut().position(Running::is_running).unwrap();
    let winner = all.swap_remove(at);
    let pid = format!("(pid {})", winner.pid());
    all.into_iter()
        .map(Running::finish)
        .for_each(|loser| assert!(loser.refused(TAKEN).contains(&pid), "{}", loser.stderr));
    answers(&socket);
}

#[test]
fn a_live_socket_is_not_stolen_when_its_lock_file_is_gone() {
    let mut broker = Broker::in_process("");
    fs::remove_file(broker.socket().with_extension("sock.lock")).unwrap();
    let line = refusal(ipcd_at(broker.socket()), TAKEN);
    let pid = broker.daemon().unwrap().pid();
    assert!(line.contains(&format!("pid {pid}")), "{line}");
    Peer::connect(&broker).settle();
}

#[test]
fn the_socket_of_a_listener_that_does_not_accept_is_not_deleted() {
    let (_directory, socket) = place();
    let listener = UnixListener::bind(&socket).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _waiting = UnixStream::connect(&socket).unwrap();
    assert!(refusal(ipcd_at(&socket), TAKEN).contains("another program has this socket open"));
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_ok() && socket.exists());
}

#[test]
fn a_datagram_socket_of_another_program_is_not_deleted() {
    let (directory, socket) = place();
    let beside = directory.path().join("ipcd.sock.dgram");
    let other = UnixDatagram::bind(&beside).unwrap();
    assert!(refusal(ipcd_at(&socket), TAKEN).contains("ipcd.sock.dgram: another program has this socket open"));
    let _broker = ready(ipcd_at(&socket).argument("--no-datagram"));
    UnixDatagram::unbound().unwrap().send_to(b"x", &beside).unwrap();
    assert_eq!(other.recv(&mut [0; 8]).unwrap(), 1);
}

#[test]
fn without_a_datagram_socket_its_path_is_ignored() {
    let (directory, socket) = place();
    fs::write(directory.path().join("ipcd.sock.dgram"), "precious").unwrap();
    let _broker = ready(ipcd_at(&socket).argument("--no-datagram"));
    answers(&socket);
}

// ---- the socket is removed

#[test]
fn a_removed_socket_cuts_no_peer() {
    let broker = Broker::start();
    let mut peer = Peer::connect(&broker);
    fs::remove_file(broker.socket()).unwrap();
    peer.settle();
}

#[test]
fn a_removed_socket_is_created_again() {
    let mut broker = Broker::in_process("");
    let mut old = Peer::connect(&broker);
    fs::remove_file(broker.socket()).unwrap();
    fs::remove_file(broker.datagram_socket()).unwrap();
    let socket = broker.socket().to_owned();
    broker.daemon().unwrap().expect_log("event=socket_reopened");
    answers(&socket);
    assert_eq!(broker.ipcctl(["-t", "2s", "send", "--datagram", "ipc.ping"]).prints_text(), "{}\n");
    old.settle();
    assert!(refusal(ipcd_at(&socket), TAKEN).contains("another broker"), "the path is claimed as before");
}

#[test]
fn a_broker_whose_path_another_has_taken_says_so_and_leaves_it_alone() {
    let mut first = Broker::in_process("");
    let mut old = Peer::connect(&first);
    let socket = first.socket().to_owned();
    fs::remove_file(&socket).unwrap();
    fs::remove_file(first.datagram_socket()).unwrap();
    fs::remove_file(socket.with_extension("sock.lock")).unwrap();
    let second = ready(ipcd_at(&socket));
    let daemon = first.daemon().unwrap();
    daemon.expect_log("event=socket_lost");
    assert!(daemon.log().contains(&format!("another broker (pid {})", second.pid())), "{}", daemon.log());
    answers(&socket);
    old.settle();
}

#[test]
fn a_file_in_place_of_a_removed_socket_is_not_removed_at_the_end() {
    let mut broker = Broker::in_process("");
    fs::remove_file(broker.socket()).unwrap();
    fs::write(broker.socket(), "another program's").unwrap();
    let daemon = broker.daemon().unwrap();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.exit_code(), 0);
    assert_eq!(fs::read_to_string(broker.socket()).unwrap(), "another program's");
}
