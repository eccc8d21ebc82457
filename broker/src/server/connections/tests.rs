//! Connections over socket pairs, with the real router behind them.

use std::{io::Read, os::unix::net::UnixStream};

use ipc_protocol::{Encoding, Hello, Identity, wire::Reply};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::*;
use crate::core::{Limits, Output, Policy};

/// A connection of root, and the other end of its socket.
fn connected() -> (Connections, Decisions, Poller, PeerId, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut decisions = Decisions::new(Limits::default(), Policy::new(None));
    let id = decisions.connect(Moment(0), Identity::new(0, 0)).unwrap();
    let (mut connections, poller) = (Connections::new(Rights::Refused), Poller::new().unwrap());
    let socket = OwnedFd::from(ours);
    poller.add(&socket, Source::Peer(id), Interest::READ).unwrap();
    connections.insert(id, socket, Interest::READ, &mut decisions);
    decisions.take();
    (connections, decisions, poller, id, theirs)
}

/// A turn of the loop, without its writes.
fn turn(connections: &mut Connections, decisions: &mut Decisions) -> Served {
    let mut served = Served::Open;
    decisions.begin_turn(Moment(0));
    while let Some(turn) = decisions.next_turn() {
        if connections.take_turn(Moment(0), turn, decisions) == Served::Gone {
            served = Served::Gone;
        }
    }
    served
}

const READABLE: Ready = Ready { source: Source::Timer, read: true, write: false, hung_up: false };

#[test]
fn what_is_read_is_routed_and_what_is_decided_is_written() {
    let (mut connections, mut decisions, poller, id, mut theirs) = connected();
    let hello = ipc_protocol::Message::Hello(Hello::new("test")).to_vec();
    io::Write::write_all(&mut theirs, &hello).unwrap();

    assert_eq!(connections.serve(id, READABLE, &mut decisions), Served::Open);
    assert_eq!(turn(&mut connections, &mut decisions), Served::Open);
    assert_eq!(connections.write_next(Moment(0), &poller, &mut decisions), Some((id, Served::Open)));

    let mut head = [0; 3];
    theirs.read_exact(&mut head).unwrap();
    assert_eq!(head, [0xc1, 1, 2], "a welcome");
    assert!(connections.write_next(Moment(0), &poller, &mut decisions).is_none());
}

#[test]
fn what_was_written_before_a_socket_broke_is_counted() {
    let (seqpacket, _theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::NONBLOCK, None).unwrap();
    let id = Decisions::new(Limits::default(), Policy::new(None)).connect(Moment(0), Identity::new(0, 0)).unwrap();
    let (mut connection, mut outlet, mut pool) =
        (Connection::new(id, seqpacket, Interest::READ), Outlet::new(), Pool::new());
    let reply = |len| {
        let body = vec![b'x'; len].into();
        Item::required(Message::Reply(Reply { id: 1, encoding: Encoding::BYTES, body }))
    };
    let small = (0..Sheet::PIECES / 2).map(|_| reply(300));
    let cost: usize = small.clone().map(|item| item.cost).sum();
    // Such a socket breaks at what is longer than its buffer, after it has taken what is not.
    small.chain([reply(1 << 20)]).for_each(|item| _ = outlet.push(item, &mut pool));

    let flushed = connection.flush(&mut outlet, &mut Sheet::new(), &mut pool);

    assert_eq!((flushed.cost, flushed.then), (cost, Then::Nothing));
}

#[test]
fn nothing_is_read_behind_what_a_parked_connection_still_holds() {
    let (mut connections, mut decisions, poller, id, mut theirs) = connected();
    let reply = |len| {
        let body = vec![b'x'; len].into();
        ipc_protocol::Message::Reply(ipc_protocol::wire::Reply { id: 1, encoding: Encoding::BYTES, body }).to_vec()
    };
    let (hello, long) = (ipc_protocol::Message::Hello(Hello::new("test")).to_vec(), reply(8_000));
    io::Write::write_all(&mut theirs, &[&hello, &long[..3_000]].concat()).unwrap();
    let _ = connections.serve(id, READABLE, &mut decisions);
    let _ = turn(&mut connections, &mut decisions);
    connections.park(id, &mut decisions);
    while connections.write_next(Moment(0), &poller, &mut decisions).is_some() {}
    decisions.take();

    // It is read again, and hangs up, in the same turn.
    io::Write::write_all(&mut theirs, &[&long[3_000..], &reply(4_000)].concat()).unwrap();
    drop(theirs);
    connections.skip(id, &mut decisions);
    for _ in 0..2 {
        let _ = connections.serve(id, Ready { hung_up: true, ..READABLE }, &mut decisions);
        let _ = turn(&mut connections, &mut decisions);
        while connections.write_next(Moment(0), &poller, &mut decisions).is_some() {}
    }

    let outputs = decisions.take().unwrap_or_default();
    assert!(!outputs.iter().any(|output| matches!(output, Output::Cut { .. })), "{outputs:?}");
}

#[test]
fn the_end_of_a_stream_is_told_once() {
    let (mut connections, mut decisions, _, id, theirs) = connected();
    drop(theirs);
    assert_eq!(connections.serve(id, READABLE, &mut decisions), Served::Open);
    assert_eq!(turn(&mut connections, &mut decisions), Served::Open);
    assert!(matches!(decisions.take().as_deref(), Some([Output::Close { peer }]) if *peer == id));
    let _ = connections.serve(id, READABLE, &mut decisions);
    let _ = turn(&mut connections, &mut decisions);
    assert!(decisions.take().is_none());
}

#[test]
fn a_socket_that_took_no_more_is_left_alone_until_the_poller_says_that_it_does() {
    let (mut connections, mut decisions, poller, id, mut theirs) = connected();
    theirs.set_nonblocking(true).unwrap();
    // Asks for some 4 KB, and tells whether any of them have not left.
    let mut ask = |mut theirs: &UnixStream, ready: Ready| {
        io::Write::write_all(&mut theirs, br#"{"jsonrpc":"2.0","id":1,"method":"ipc.limits"}"#).unwrap();
        let _ = connections.serve(id, ready, &mut decisions);
        let _ = turn(&mut connections, &mut decisions);
        let _ = connections.write_next(Moment(0), &poller, &mut decisions);
        decisions.outlets().of(id).is_some_and(|(outlet, _)| !outlet.is_empty())
    };
    while !ask(&theirs, READABLE) {}
    let (mut read, mut left) = (vec![0; 65_536], 0);
    while let Ok(len) = theirs.read(&mut read) {
        left += len;
    }
    assert!(left > 100_000, "{left} bytes lay in the kernel");

    assert!(ask(&theirs, READABLE), "its peer has read, which was not reported");
    assert!(theirs.read(&mut read).is_err());
    assert!(!ask(&theirs, Ready { write: true, ..READABLE }));
}
