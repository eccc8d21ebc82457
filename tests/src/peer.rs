//! A peer that writes and reads frames itself, so that a test can keep to the protocol or break it.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use bytes::Bytes;
use ipc_protocol::{
    Call, Cancel, Decoder, Encoding, ErrorCode, Failure, Goodbye, Hello, Identity, Incoming, Message, PeerNumber,
    Reply, Routing, Streams, limits::MAX_BODY,
};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    broker::Broker,
    eventually::{SOON, eventually},
};

/// A stream connection to a broker. Each wait ends within [`SOON`].
#[derive(Debug)]
pub struct Peer {
    stream: UnixStream,
    decoder: Decoder,
    number: PeerNumber,
    last_call: u64,
}

impl Peer {
    /// Connects, says hello and reads the welcome.
    #[must_use]
    pub fn connect(broker: &Broker) -> Self {
        Self::greet(Self::open(broker))
    }

    /// Connects without saying hello.
    #[must_use]
    pub fn open(broker: &Broker) -> Self {
        Self::on(UnixStream::connect(broker.socket()).expect("the broker listens"))
    }

    /// Uses a connected socket without saying hello.
    #[must_use]
    pub fn on(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(SOON)).expect("the timeout is not zero");
        stream.set_write_timeout(Some(SOON)).expect("the timeout is not zero");
        Self { stream, decoder: Decoder::new(MAX_BODY), number: PeerNumber(0), last_call: 0 }
    }

    /// Says hello and reads the welcome.
    #[must_use]
    pub fn greet(mut self) -> Self {
        self.send(&hello());
        let Some(Message::Welcome(welcome)) = self.receive() else { panic!("no welcome") };
        self.number = welcome.peer;
        self
    }

    /// Its number, from the welcome.
    #[must_use]
    pub fn number(&self) -> PeerNumber {
        self.number
    }

    /// Its socket.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Sends a message.
    #[track_caller]
    pub fn send(&mut self, message: &Message) {
        self.send_bytes(&message.to_vec());
    }

    /// Sends any bytes.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker reads");
    }

    /// Sends bytes until the broker closes the connection, which it may do at any time.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends bytes with control data.
    pub fn send_with(&self, bytes: &[u8], control: &[ControlMessage<'_>]) -> nix::Result<usize> {
        sendmsg::<()>(self.stream.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None)
    }

    /// The next message, or `None` once the broker has closed the connection.
    #[track_caller]
    pub fn receive(&mut self) -> Option<Message> {
        loop {
            match self.try_receive() {
                Ok(message) => return message,
                // With a timeout, a SIGCHLD for another test's child can interrupt a read (signal(7)).
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => panic!("no message from the broker: {error}"),
            }
        }
    }

    /// As [`Peer::receive`], for a test that can do something else meanwhile.
    ///
    /// # Errors
    /// What read(2) says: `WouldBlock` if nothing comes in the socket's own time.
    pub fn try_receive(&mut self) -> io::Result<Option<Message>> {
        let mut chunk = vec![0; 65_536];
        loop {
            match self.decoder.next().expect("the broker keeps to the protocol") {
                Some(Incoming::Frame(frame)) => return Ok(Some(Message::decode(frame).expect("a message"))),
                Some(Incoming::Begun(_)) => self.decoder.assemble(),
                Some(Incoming::TooLarge(header)) => panic!("the broker sent {header:?}"),
                None => match self.stream.read(&mut chunk) {
                    Ok(0) => return Ok(None),
                    Ok(len) => self.decoder.feed(Bytes::copy_from_slice(&chunk[..len])),
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                    Err(error) => return Err(error),
                },
            }
        }
    }

    /// The goodbye, which must be next, followed by the end of the stream.
    #[track_caller]
    pub fn goodbye(&mut self) -> Goodbye {
        let Some(Message::Goodbye(goodbye)) = self.receive() else { panic!("no goodbye") };
        assert_eq!(self.receive(), None, "nothing follows a goodbye");
        goodbye
    }

    /// Waits until the broker has handled everything sent so far, with a ping. No other message may be on its way.
    #[track_caller]
    pub fn settle(&mut self) {
        self.send(&Message::Ping(4_711));
        assert_eq!(self.receive(), Some(Message::Pong(4_711)));
    }

    /// Starts a call with a body of bytes and the default deadline, and returns its number.
    pub fn call(&mut self, target: &str, body: impl Into<Bytes>) -> u64 {
        self.call_within(target, body, Duration::ZERO)
    }

    /// Starts a call with a deadline.
    pub fn call_within(&mut self, target: &str, body: impl Into<Bytes>, timeout: Duration) -> u64 {
        let mut call = call(self.next_number(), target, body);
        call.timeout_ms = u32::try_from(timeout.as_millis()).expect("an hour at most");
        let id = call.id;
        self.send(&Message::Call(call));
        id
    }

    /// Cancels a call.
    pub fn cancel(&mut self, id: u64) {
        self.send(&Message::Cancel(Cancel { delivered: None, id, reason: ErrorCode::CANCELLED }));
    }

    /// The reply, which must be next, and its call's number.
    #[track_caller]
    pub fn reply(&mut self) -> (u64, Bytes) {
        match self.receive() {
            Some(Message::Reply(reply)) => (reply.id, reply.body.into_bytes()),
            other => panic!("no reply: {other:?}"),
        }
    }

    /// The error, which must be next.
    #[track_caller]
    pub fn failure(&mut self) -> Failure {
        match self.receive() {
            Some(Message::Error(failure)) => failure,
            other => panic!("no error: {other:?}"),
        }
    }

    /// Registers a name with a window.
    #[track_caller]
    pub fn register(&mut self, name: &str, window: u32) {
        let body = serde_json::json!({ "name": name, "window": window }).to_string();
        eventually(SOON, "the name is free", || {
            self.call("ipc.register", body.clone());
            match self.receive() {
                Some(Message::Reply(_)) => true,
                // A peer that has just gone holds it until the broker has seen that.
                Some(Message::Error(failure)) if failure.code == ErrorCode::NAME_TAKEN => false,
                other => panic!("not registered: {other:?}"),
            }
        });
    }

    /// Calls an operation of the broker's own service.
    #[track_caller]
    pub fn ask<Q: Serialize, A: DeserializeOwned>(&mut self, operation: &str, request: &Q) -> A {
        let body = serde_json::to_vec(request).expect("plain data");
        let id = self.call(&format!("ipc.{operation}"), body);
        let (answered, body) = self.reply();
        assert_eq!(answered, id);
        serde_json::from_slice(&body).expect("the answer has the documented form")
    }

    /// The next message, which must be a delivered call.
    #[track_caller]
    pub fn delivered(&mut self) -> Call {
        match self.receive() {
            Some(Message::Call(call)) => call,
            other => panic!("not a call: {other:?}"),
        }
    }

    /// The next message, which must be a cancel.
    #[track_caller]
    pub fn cancelled(&mut self) -> Cancel {
        match self.receive() {
            Some(Message::Cancel(cancel)) => cancel,
            other => panic!("not a cancel: {other:?}"),
        }
    }

    /// Answers a delivered call.
    pub fn answer(&mut self, call: &Call, body: impl Into<Bytes>) {
        self.send(&Message::Reply(Reply { id: call.id, encoding: call.encoding, body: body.into().into() }));
    }

    /// Answers the next call with the call's own body.
    #[track_caller]
    pub fn echo(&mut self) {
        let call = self.delivered();
        let body = call.body.bytes().clone();
        self.answer(&call, body);
    }

    fn next_number(&mut self) -> u64 {
        self.last_call += 1;
        self.last_call
    }
}

/// The hello of a test peer.
#[must_use]
pub fn hello() -> Message {
    Message::Hello(Hello::new("test 1.0"))
}

/// A call with a body of bytes and the default deadline.
#[must_use]
pub fn call(id: u64, target: &str, body: impl Into<Bytes>) -> Call {
    Call {
        id,
        one_way: false,
        streams: Streams::NONE,
        encoding: Encoding::BYTES,
        timeout_ms: 0,
        caller: Bytes::new(),
        routing: Routing::to(target, "").build(),
        body: body.into().into(),
    }
}

/// The identity and number of a delivered call's caller, as the broker reports them.
#[must_use]
pub fn caller_of(call: &Call) -> (Identity, Option<PeerNumber>) {
    Identity::from_stamp(&call.caller).expect("a stamp")
}

/// Sends bytes with `count` copies of one descriptor.
pub fn send_descriptors(peer: &Peer, bytes: &[u8], descriptor: BorrowedFd<'_>, count: usize) -> nix::Result<usize> {
    peer.send_with(bytes, &[ControlMessage::ScmRights(&vec![descriptor.as_raw_fd(); count])])
}

/// Receives a descriptor that a process sends with one byte.
#[track_caller]
pub fn receive_descriptor(stream: &UnixStream) -> OwnedFd {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, flags).expect("the sender lives or has written");
    let rights = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    });
    rights.expect("a descriptor came with the byte")
}
