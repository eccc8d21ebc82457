//! Datagrams against a broker that follows a script.
#![forbid(unsafe_code)]

use std::{os::unix::net::UnixDatagram, thread, time::Duration};

use bytes::Bytes;
use ipc_client::{Address, Datagram, Encoding, ErrorCode, Request, Response, Retry, Target};
use ipc_protocol::{Call, Failure, Frame, Message, Reply};
use tempfile::TempDir;
use uds::{UnixDatagramExt, UnixSocketAddr};

struct Broker {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Broker {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("s.dgram")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { socket, directory }
    }

    /// A broker, and one who sends datagrams to it.
    fn with_sender() -> (Self, Datagram) {
        let broker = Self::start();
        let sender = Datagram::connect_to(&broker.address()).unwrap();
        (broker, sender)
    }

    fn restart(&mut self) {
        let path = self.directory.path().join("s.dgram");
        std::fs::remove_file(&path).unwrap();
        self.socket = UnixDatagram::bind(path).unwrap();
    }

    fn address(&self) -> Address {
        Address::Path(self.directory.path().join("s"))
    }

    fn next(&self) -> (Call, UnixSocketAddr) {
        let mut buffer = vec![0; 1 << 17];
        let (len, from) = self.socket.recv_from_unix_addr(&mut buffer).unwrap();
        let frame = Frame::from_datagram(Bytes::copy_from_slice(&buffer[..len]), 1 << 20).unwrap();
        match Message::decode(frame).unwrap() {
            Message::Call(call) => (call, from),
            other => panic!("no call: {other:?}"),
        }
    }

    fn send(&self, message: &Message, to: &UnixSocketAddr) {
        self.socket.send_to_unix_addr(&message.to_vec(), to).unwrap();
    }
}

fn request(body: impl Into<Bytes>) -> Request {
    Request::new(Target::parse("calc.add").unwrap(), body)
}

fn reply(id: u64, body: &'static [u8]) -> Message {
    Message::Reply(Reply { id, encoding: Encoding::BYTES, body: Bytes::from_static(body).into() })
}

#[test]
fn a_call_is_answered_at_an_abstract_address() {
    let (broker, sender) = Broker::with_sender();
    thread::scope(|scope| {
        let calling = scope.spawn(|| sender.call_bytes(request("hi")));
        let (call, from) = broker.next();
        assert!(from.as_abstract().is_some());
        assert_eq!((&call.body[..], call.one_way), (&b"hi"[..], false));
        broker.send(&reply(call.id, b"HI"), &from);
        assert_eq!(calling.join().unwrap().unwrap(), Response::bytes("HI"));
    });
}

#[test]
fn strange_answers_are_passed_over() {
    let (broker, sender) = Broker::with_sender();
    thread::scope(|scope| {
        let calling = scope.spawn(|| sender.call_bytes(request("hi")));
        let (call, from) = broker.next();
        broker.send(&reply(call.id + 1, b"to no call"), &from);
        broker.send(&Message::Ping(call.id), &from);
        broker.socket.send_to_unix_addr(b"garbage", &from).unwrap();
        broker.socket.send_to_unix_addr(b"", &from).unwrap();
        broker.send(&Message::Error(Failure::new(call.id, ErrorCode::NO_SERVICE, "")), &from);
        let error = calling.join().unwrap().unwrap_err();
        assert_eq!((error.code(), error.retry()), (ErrorCode::NO_SERVICE, Retry::Safe));
    });
}

#[test]
fn a_full_queue_is_busy_and_does_not_block() {
    let (broker, sender) = Broker::with_sender();
    let error = (0..10_000).find_map(|_| sender.one_way(request("hi")).err()).unwrap();
    assert_eq!((error.code(), error.retry()), (ErrorCode::BUSY, Retry::Safe));
    assert!(broker.next().0.one_way);
    sender.one_way(request("again")).unwrap();
}

#[test]
fn a_call_that_no_datagram_holds_stays_here() {
    let (_broker, sender) = Broker::with_sender();
    let error = sender.one_way(request(vec![0; 65_536])).unwrap_err();
    assert_eq!((error.code(), error.retry()), (ErrorCode::TOO_LARGE, Retry::Safe));
}

#[test]
fn the_largest_datagram_arrives() {
    let (broker, sender) = Broker::with_sender();
    let names = 3 + "calc.add".len();
    sender.one_way(request(vec![7; 65_536 - 32 - names])).unwrap();
    assert_eq!(broker.next().0.body.len(), 65_536 - 32 - names);
}

#[test]
fn a_broker_that_was_started_anew_is_found() {
    let (mut broker, sender) = Broker::with_sender();
    sender.one_way(request("first")).unwrap();
    broker.restart();
    sender.one_way(request("second")).unwrap();
    assert_eq!(broker.next().0.body, "second");
}

#[test]
fn without_a_broker_it_is_unavailable() {
    let (broker, sender) = Broker::with_sender();
    let address = broker.address();
    drop(broker);
    assert_eq!(sender.one_way(request("hi")).unwrap_err().code(), ErrorCode::UNAVAILABLE);
    assert_eq!(Datagram::connect_to(&address).unwrap_err().code(), ErrorCode::UNAVAILABLE);
}

#[test]
fn a_deadline_passes_without_an_answer() {
    let (_broker, sender) = Broker::with_sender();
    let error = sender.call_bytes(request("hi").timeout(Duration::ZERO)).unwrap_err();
    assert_eq!((error.code(), error.retry()), (ErrorCode::DEADLINE, Retry::Unknown));
}

#[test]
fn one_way_does_not_wait_for_a_call_on_the_same_sender() {
    let (broker, sender) = Broker::with_sender();
    thread::scope(|scope| {
        let calling = scope.spawn(|| sender.call_bytes(request("slow")));
        let (call, from) = broker.next();
        let (sent, done) = std::sync::mpsc::channel();
        let waiting = &sender;
        let other = scope.spawn(move || sent.send(waiting.one_way(request("quick"))).unwrap());
        done.recv_timeout(Duration::from_secs(20)).expect("it is sent while the call waits").unwrap();
        assert!(broker.next().0.one_way);
        broker.send(&reply(call.id, b"done"), &from);
        assert_eq!(calling.join().unwrap().unwrap(), Response::bytes("done"));
        other.join().unwrap();
    });
}

#[test]
fn a_late_answer_cannot_be_meant_for_another_sender() {
    let broker = Broker::start();
    let first_id = || {
        let sender = Datagram::connect_to(&broker.address()).unwrap();
        sender.one_way(request("hi")).unwrap();
        broker.next().0.id
    };
    let ids = [first_id(), first_id(), first_id()];
    assert!(
        ids[0] != ids[1] && ids[1] != ids[2],
        "the kernel gives the address of a sender that is gone to the next: {ids:?}"
    );
}

#[test]
fn a_call_that_names_no_time_says_how_long_it_is_waited_for() {
    let (broker, sender) = Broker::with_sender();
    thread::scope(|scope| {
        let calling = scope.spawn(|| sender.call_bytes(request("hi")));
        let (call, from) = broker.next();
        assert_eq!(call.timeout_ms, 30_000);
        broker.send(&reply(call.id, b""), &from);
        calling.join().unwrap().unwrap();
    });
}

#[test]
fn a_deadline_does_not_wait_for_the_call_of_another_thread() {
    let (broker, sender) = Broker::with_sender();
    thread::scope(|scope| {
        let patient = scope.spawn(|| sender.call_bytes(request("slow")));
        let (call, from) = broker.next();
        let hasty = request("hasty").timeout(Duration::from_millis(1));
        let error = sender.call_bytes(hasty).unwrap_err();
        assert_eq!((error.code(), error.retry()), (ErrorCode::DEADLINE, Retry::Safe));
        broker.send(&reply(call.id, b"done"), &from);
        assert_eq!(patient.join().unwrap().unwrap(), Response::bytes("done"));
    });
}

/// `calc.add` by datagram.
#[derive(serde::Serialize, serde::Deserialize)]
struct Add {
    a: i64,
}

impl ipc_client::Method for Add {
    const SERVICE: &'static str = "calc";
    const METHOD: &'static str = "add";
    type Reply = i64;
    type Error = String;
}

#[test]
fn typed_calls_travel_as_json() {
    let (broker, sender) = Broker::with_sender();
    thread::scope(|scope| {
        let calling = scope.spawn(|| sender.call(&Add { a: 1 }));
        let (call, from) = broker.next();
        assert_eq!((call.encoding, &call.body[..]), (Encoding::JSON, &br#"{"a":1}"#[..]));
        let reply = Reply { id: call.id, encoding: Encoding::JSON, body: "2".into() };
        broker.send(&Message::Reply(reply), &from);
        assert_eq!(calling.join().unwrap().unwrap(), 2);
    });
    sender.tell(&Add { a: 1 }).unwrap();
    assert!(broker.next().0.one_way);
}
