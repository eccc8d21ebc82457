//! A broker that does what a test tells it, frame by frame.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::{
    collections::VecDeque,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use ipc_client::{Address, AppError, Client, Encoding, ErrorCode, Identity, Method, PeerNumber, control};
use ipc_protocol::{
    Call, Cancel, Event, Failure, Features, FieldTag, Incoming, Message, Reply, Routing, Welcome, codec,
    transport::{Inbox, Outbox, Pool, ReadBuffer, Received},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// `calc.add`, with an application error that has a type of its own.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Add {
    pub(crate) a: i64,
    pub(crate) b: i64,
}

/// A call of it.
pub(crate) const ADD: Add = Add { a: 1, b: 2 };

#[derive(Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("the sum of {a} and {b} is too large")]
pub(crate) struct TooLarge {
    pub(crate) a: i64,
    pub(crate) b: i64,
}

impl AppError for TooLarge {
    fn code(&self) -> u8 {
        7
    }
}

impl Method for Add {
    const SERVICE: &'static str = "calc";
    const METHOD: &'static str = "add";
    type Reply = i64;
    type Error = TooLarge;
}

/// `calc.text`: bytes of any length that come back.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Text(pub(crate) String);

impl Method for Text {
    const SERVICE: &'static str = "calc";
    const METHOD: &'static str = "text";
    type Reply = String;
    type Error = String;
}

/// A socket in a directory of its own, to which clients and services connect.
pub(crate) struct Door {
    listener: UnixListener,
    directory: TempDir,
}

/// The broker's end of one connection.
pub(crate) struct Line {
    socket: UnixStream,
    inbox: Inbox,
    buffer: ReadBuffer,
    outbox: Outbox,
    pool: Pool,
    received: VecDeque<Message>,
}

impl Door {
    pub(crate) fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("s")).unwrap();
        Self { listener, directory }
    }

    pub(crate) fn address(&self) -> Address {
        Address::Path(self.directory.path().join("s"))
    }

    /// A client whose connection is open, and the broker's end of it.
    pub(crate) fn open_client(&self) -> (Client, Line) {
        opened(Client::connect_to(&self.address()).unwrap(), || self.accept())
    }

    /// Takes the next connection and answers its hello.
    pub(crate) fn accept(&self) -> Line {
        self.accept_with(|_| {})
    }

    /// The same with a welcome that says something else than usual.
    pub(crate) fn accept_with(&self, change: impl FnOnce(&mut Welcome)) -> Line {
        wait_for(&self.listener, PollFlags::IN);
        let mut line = Line::new(self.listener.accept().unwrap().0);
        line.greet_with(change);
        line
    }

    /// Takes the connection of a service and registers it.
    pub(crate) fn accept_service(&self) -> (Line, control::Register) {
        let mut line = self.accept();
        let register = line.expect_register();
        (line, register)
    }

    /// Connections that are not accepted, as many as the backlog holds: the next connect waits.
    pub(crate) fn crowd(&self) -> Vec<OwnedFd> {
        rustix::net::listen(&self.listener, 0).unwrap();
        let address = rustix::net::SocketAddrUnix::new(self.directory.path().join("s")).unwrap();
        let connect = || {
            let flags = rustix::net::SocketFlags::NONBLOCK;
            let kind = rustix::net::SocketType::STREAM;
            let socket = rustix::net::socket_with(rustix::net::AddressFamily::UNIX, kind, flags, None).unwrap();
            rustix::net::connect(&socket, &address).ok().map(|()| socket)
        };
        std::iter::from_fn(connect).collect()
    }

    /// Whether a client wants to connect.
    pub(crate) fn is_knocked_at(&self) -> bool {
        is_ready(&self.listener)
    }
}

impl Line {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            inbox: Inbox::new(1 << 20),
            buffer: ReadBuffer::new(),
            outbox: Outbox::new(),
            pool: Pool::default(),
            received: VecDeque::new(),
        }
    }

    /// A client and the broker's end of its connection, before any byte.
    pub(crate) fn pair() -> (Client, Self) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Client::from_fd(theirs.into()).unwrap(), Self::new(ours))
    }

    /// A client whose connection is open.
    pub(crate) fn open_pair() -> (Client, Self) {
        let (client, mut line) = Self::pair();
        opened(client, || {
            line.greet();
            line
        })
    }

    pub(crate) fn greet(&mut self) {
        self.greet_with(|_| {});
    }

    /// Answers hello with a welcome that says something else than usual.
    pub(crate) fn greet_with(&mut self, change: impl FnOnce(&mut Welcome)) {
        let Message::Hello(_) = self.next() else { panic!("no hello") };
        let mut welcome = Welcome {
            version: 1,
            features: Features(0),
            peer: PeerNumber(42),
            max_body: 1 << 20,
            call_default_ms: 30_000,
            call_max_ms: 3_600_000,
            agent: "fake 1".into(),
        };
        change(&mut welcome);
        self.send(Message::Welcome(welcome));
    }

    /// The next message; panics after ten seconds, and at the end of the connection.
    pub(crate) fn next(&mut self) -> Message {
        while self.received.is_empty() {
            wait_for(&self.socket, PollFlags::IN);
            assert!(self.read(), "the connection ended");
        }
        self.received.pop_front().unwrap()
    }

    /// Everything that one read brings.
    pub(crate) fn next_read(&mut self) -> Vec<Message> {
        assert!(self.received.is_empty());
        wait_for(&self.socket, PollFlags::IN);
        assert!(self.read(), "the connection ended");
        self.received.drain(..).collect()
    }

    pub(crate) fn expect_call(&mut self) -> Call {
        match self.next() {
            Message::Call(call) => call,
            other => panic!("no call: {other:?}"),
        }
    }

    pub(crate) fn expect_cancel(&mut self) -> Cancel {
        match self.next() {
            Message::Cancel(cancel) => cancel,
            other => panic!("no cancel: {other:?}"),
        }
    }

    pub(crate) fn expect_reply(&mut self) -> Reply {
        match self.next() {
            Message::Reply(reply) => reply,
            other => panic!("no reply: {other:?}"),
        }
    }

    pub(crate) fn expect_error(&mut self) -> Failure {
        match self.next() {
            Message::Error(failure) => failure,
            other => panic!("no error: {other:?}"),
        }
    }

    /// Takes a ping and answers it.
    pub(crate) fn expect_ping(&mut self) {
        match self.next() {
            Message::Ping(id) => self.send(Message::Pong(id)),
            other => panic!("no ping: {other:?}"),
        }
    }

    pub(crate) fn expect_register(&mut self) -> control::Register {
        let call = self.expect_call();
        assert_eq!((call.routing.service(), call.routing.method()), (&b"ipc"[..], &b"register"[..]));
        self.reply_json(call.id, &control::Registered { peer: PeerNumber(42) });
        codec::decode(call.encoding, &call.body).unwrap()
    }

    /// Takes a call of `ipc.unregister` and agrees.
    pub(crate) fn expect_unregister(&mut self) {
        let call = self.expect_call();
        assert_eq!(call.routing.method(), b"unregister");
        self.reply_json(call.id, &control::Empty {});
    }

    /// Takes a call of `ipc.subscribe`, and agrees with this number.
    pub(crate) fn expect_subscribe(&mut self, subscription: u64) -> control::Subscribe {
        let call = self.expect_call();
        assert_eq!((call.routing.service(), call.routing.method()), (&b"ipc"[..], &b"subscribe"[..]));
        self.reply_json(call.id, &control::Subscribed { subscription });
        codec::decode(call.encoding, &call.body).unwrap()
    }

    /// Takes a call of `ipc.unsubscribe`, and tells which subscription it ends.
    pub(crate) fn expect_unsubscribe(&mut self) -> u64 {
        let call = self.expect_call();
        assert_eq!((call.routing.service(), call.routing.method()), (&b"ipc"[..], &b"unsubscribe"[..]));
        self.reply_json(call.id, &control::Empty {});
        codec::decode::<control::Unsubscribe>(call.encoding, &call.body).unwrap().subscription
    }

    pub(crate) fn expect_event(&mut self) -> Event {
        match self.next() {
            Message::Event(event) => event,
            other => panic!("no event: {other:?}"),
        }
    }

    pub(crate) fn reply<T: Serialize>(&mut self, id: u64, value: &T) {
        self.reply_in(Encoding::BINCODE, id, value);
    }

    pub(crate) fn reply_json<T: Serialize>(&mut self, id: u64, value: &T) {
        self.reply_in(Encoding::JSON, id, value);
    }

    fn reply_in<T: Serialize>(&mut self, encoding: Encoding, id: u64, value: &T) {
        let body = Bytes::from(codec::encode(encoding, value).unwrap());
        self.send(Message::Reply(Reply { id, encoding, body: body.into() }));
    }

    pub(crate) fn refuse(&mut self, id: u64, code: ErrorCode, text: &str) {
        self.send(Message::Error(Failure::new(id, code, text)));
    }

    pub(crate) fn cancel(&mut self, id: u64, reason: ErrorCode) {
        self.send(Message::Cancel(Cancel { id, reason, delivered: None }));
    }

    /// Delivers a typed call, stamped with the caller that tests have.
    pub(crate) fn deliver<M: Method>(&mut self, id: u64, encoding: Encoding, request: &M) {
        self.send(Message::Call(delivered(id, M::METHOD, encoding, codec::encode(encoding, request).unwrap())));
    }

    pub(crate) fn send(&mut self, message: Message) {
        self.send_all([message]);
    }

    /// Sends with one write as far as the socket takes it.
    pub(crate) fn send_all(&mut self, messages: impl IntoIterator<Item = Message>) {
        for message in messages {
            self.outbox.push(message, &mut self.pool);
        }
        while self.outbox.flush(self.socket.as_fd(), &mut self.pool).unwrap().blocked {
            wait_for(&self.socket, PollFlags::OUT);
        }
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        use std::io::Write;
        self.socket.write_all(bytes).unwrap();
    }

    /// Whether nothing is there to be read now.
    pub(crate) fn is_silent(&self) -> bool {
        self.received.is_empty() && !is_ready(&self.socket)
    }

    /// Waits for the end of the connection, past whatever still comes.
    pub(crate) fn expect_end(&mut self) {
        loop {
            wait_for(&self.socket, PollFlags::IN);
            if !self.read() {
                return;
            }
        }
    }

    /// Reads once; false at the end.
    fn read(&mut self) -> bool {
        match self.inbox.read(self.socket.as_fd(), &mut self.buffer) {
            Ok(Received::Bytes(_)) => {}
            Ok(Received::Nothing) => return true,
            Ok(Received::End) | Err(_) => return false,
        }
        while let Some(incoming) = self.inbox.next().unwrap() {
            match incoming {
                Incoming::Frame(frame) => self.received.push_back(Message::decode(frame).unwrap()),
                Incoming::Begun(_) => self.inbox.decoder().assemble(),
                Incoming::TooLarge(header) => panic!("too large: {header:?}"),
            }
        }
        true
    }
}

/// A client that has sent its hello and its first ping, which the broker has greeted and answered.
fn opened(client: Client, greeted: impl FnOnce() -> Line) -> (Client, Line) {
    let line = std::thread::scope(|scope| {
        let ping = scope.spawn(|| client.ping().unwrap());
        let mut line = greeted();
        line.expect_ping();
        ping.join().unwrap();
        line
    });
    (client, line)
}

/// An event of plain bytes as a broker delivers it, the publisher's number `sequence`.
pub(crate) fn told(subscription: u64, topic: &str, sequence: u64, body: impl Into<Bytes>) -> Message {
    Message::Event(event(subscription, topic, sequence, body))
}

/// The event alone.
pub(crate) fn event(subscription: u64, topic: &str, sequence: u64, body: impl Into<Bytes>) -> Event {
    Event {
        id: subscription,
        one_way: false,
        retained: false,
        encoding: Encoding::BYTES,
        publisher: Identity::new(1_000, 100).stamp(Some(PeerNumber(7))),
        routing: Routing::on(topic).put(FieldTag::SEQUENCE, &sequence.to_le_bytes()).build(),
        body: body.into().into(),
    }
}

/// A call as a broker delivers it.
pub(crate) fn delivered(id: u64, method: &str, encoding: Encoding, body: impl Into<Bytes>) -> Call {
    Call {
        id,
        one_way: false,
        streams: ipc_protocol::Streams::NONE,
        encoding,
        timeout_ms: 30_000,
        caller: Identity::new(1_000, 100).stamp(Some(PeerNumber(7))),
        routing: Routing::to("calc", method).build(),
        body: body.into().into(),
    }
}

/// Waits, with a deadline.
pub(crate) fn wait_for(fd: &impl AsFd, what: PollFlags) {
    let until = Instant::now() + PATIENCE;
    let mut fds = [PollFd::new(fd, what)];
    while fds[0].revents().is_empty() {
        assert!(Instant::now() < until, "nothing happened within {PATIENCE:?}");
        let _ = poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }));
    }
}

/// Waits until something can be read, for as long as it is told.
pub(crate) fn wait_with(fd: &impl AsFd, timeout: Option<Duration>) {
    let until = Instant::now() + timeout.unwrap_or(PATIENCE).min(PATIENCE);
    ipc_protocol::transport::poll::wait(&mut [PollFd::new(fd, PollFlags::IN)], Some(until)).unwrap();
}

/// Waits until a socket takes no more.
pub(crate) fn wait_until_full(fd: &impl AsFd) {
    let until = Instant::now() + PATIENCE;
    let mut fds = [PollFd::new(fd, PollFlags::OUT)];
    while poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0 {
        assert!(Instant::now() < until, "it still takes something after {PATIENCE:?}");
        std::thread::yield_now();
    }
}

fn is_ready(fd: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
