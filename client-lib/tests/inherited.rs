//! A client on a descriptor that its process was started with, `fd:N`: it takes a copy, and never what it was not meant to have.
#![forbid(unsafe_code)]

mod common;

use std::{
    io::Read,
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    thread,
};

use ipc_client::{Address, Client, Error, ErrorCode};

use common::Line;

#[test]
fn a_descriptor_of_somebody_else_is_refused_and_stays_open() {
    let mut file = tempfile::tempfile().unwrap();
    file.set_len(3).unwrap();
    let error = refusal_of(&file);
    assert_eq!(error.code(), ErrorCode::USAGE, "{error}");
    assert!(error.text().contains("isn't an AF_UNIX socket"), "{error}");
    assert_eq!(file.read(&mut [0; 8]).unwrap(), 3, "the file is still its owner's");
}

#[test]
fn only_a_connected_stream_socket_is_a_connection() {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("s")).unwrap();
    let (datagram, _other) = UnixDatagram::pair().unwrap();
    let loopback = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = std::net::TcpStream::connect(loopback.local_addr().unwrap()).unwrap();

    let errors = [refusal_of(&listener), refusal_of(&datagram), refusal_of(&connected)];

    assert!(errors[0].text().contains("isn't a connected stream socket"), "{}", errors[0]);
    assert!(errors[1].text().contains("isn't a connected stream socket"), "{}", errors[1]);
    assert!(errors[2].text().contains("isn't an AF_UNIX socket"), "{}", errors[2]);
    assert!(errors.iter().all(|error| error.code() == ErrorCode::USAGE));
    assert!(loopback.accept().is_ok() && UnixStream::connect(directory.path().join("s")).is_ok());
}

#[test]
fn a_number_that_is_not_open_is_named() {
    let error = Client::connect_to(&Address::Fd(9_999)).unwrap_err();
    assert!(error.text().contains("descriptor 9999 isn't open"), "{error}");
    let error = Client::connect_to(&Address::Fd(-1)).unwrap_err();
    assert!(error.text().contains("descriptor -1 isn't open"), "{error}");
}

#[test]
fn a_standard_stream_is_never_a_connection() {
    let error = Client::connect_to(&Address::Fd(2)).unwrap_err();
    assert!(error.text().contains("fd:2 is a standard stream"), "{error}");
}

#[test]
fn a_second_connection_on_the_same_descriptor_is_refused() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let address = address_of(&theirs);
    let (client, mut line) = connect(&address, ours);

    let second = Client::connect_to(&address).unwrap_err();
    let copy = theirs.try_clone().unwrap();
    let by_another_number = refusal_of(&copy);

    let wanted = |number: i32| format!("fd:{number} is in use by another connection of this process");
    assert!(second.text().contains(&wanted(theirs.as_raw_fd())), "{second}");
    assert!(by_another_number.text().contains(&wanted(copy.as_raw_fd())), "{by_another_number}");
    assert_eq!(second.code(), ErrorCode::USAGE);
    thread::scope(|scope| {
        let ping = scope.spawn(|| client.ping().unwrap());
        line.expect_ping();
        ping.join().unwrap();
    });
}

#[test]
fn a_number_that_has_become_another_socket_is_free_again() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let address = address_of(&theirs);
    drop(connect(&address, ours));

    let (ours, next) = UnixStream::pair().unwrap();
    let mut place = std::os::fd::OwnedFd::from(theirs);
    rustix::io::dup3(&next, &mut place, rustix::io::DupFlags::CLOEXEC).unwrap();

    drop(connect(&address, ours));
}

#[test]
fn the_end_of_the_client_is_the_end_of_the_connection_though_the_descriptor_stays_open() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let (client, _line) = connect(&address_of(&theirs), ours.try_clone().unwrap());

    drop(client);

    ours.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    assert_eq!(ours.read(&mut [0; 64]).unwrap(), 0, "the broker sees the end");
    let flags = rustix::io::fcntl_getfd(&theirs).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "and no child gets it");
}

fn address_of(socket: &impl AsFd) -> Address {
    Address::Fd(socket.as_fd().as_raw_fd())
}

fn refusal_of(socket: &impl AsFd) -> Error {
    Client::connect_to(&address_of(socket)).unwrap_err()
}

/// A client on the descriptor whose other end is `ours`, and that end, after hello and a ping.
fn connect(address: &Address, ours: UnixStream) -> (Client, Line) {
    let mut line = Line::new(ours);
    let client = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let client = Client::connect_to(address).unwrap();
            client.ping().unwrap();
            client
        });
        line.greet();
        line.expect_ping();
        client.join().unwrap()
    });
    (client, line)
}
