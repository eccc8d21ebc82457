//! The frames of ipcd, written and read with only the header of the protocol crate.

use std::{io, os::fd::BorrowedFd};

use ipc_protocol::{
    Call, Encoding, Event, Header, Hello, Kind, Message, Routing, ServiceName, Streams, control, limits::HEADER_LEN,
};

use super::{Dialect, Found, Part, Step, refused};
use crate::bench::intake::exchange;

/// The dialect of ipcd: one service with one method.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ipcd;

impl Ipcd {
    pub(crate) const SERVICE: &str = "bench";
    pub(crate) const METHOD: &str = "echo";
    /// The service's window: more calls than any bench has outstanding, so that none waits at the broker.
    pub(crate) const WINDOW: u32 = 1_024;

    const TOPIC: &str = "bench.event";

    fn register(socket: BorrowedFd<'_>) -> io::Result<()> {
        let request = control::Register {
            streams: false,
            name: Some(ServiceName::parse(Self::SERVICE).expect("the constant is a valid service name")),
            window: Self::WINDOW,
            shared: false,
            methods: Vec::new(),
            description: None,
        };
        Self::ask(socket, "register", &serde_json::to_vec(&request)?)
    }

    fn ask(socket: BorrowedFd<'_>, operation: &str, body: &[u8]) -> io::Result<()> {
        let call = Message::Call(Call {
            id: 1,
            one_way: false,
            streams: Streams::NONE,
            encoding: Encoding::JSON,
            timeout_ms: 5_000,
            caller: bytes::Bytes::new(),
            routing: Routing::to(control::SERVICE, operation).build(),
            body: body.to_vec().into(),
        });
        expect_kind(Kind::REPLY, &exchange(socket, &call.to_vec(), whole_frame)?)
    }
}

impl Dialect for Ipcd {
    type Token = u64;

    fn introduce(&mut self, socket: BorrowedFd<'_>, part: Part) -> io::Result<()> {
        let hello = Message::Hello(Hello::new("bench")).to_vec();
        expect_kind(Kind::WELCOME, &exchange(socket, &hello, whole_frame)?)?;
        match part {
            Part::Service => Self::register(socket),
            Part::Client(_) => Ok(()),
            Part::Subscriber => Self::ask(socket, "subscribe", br#"{"pattern":"bench."}"#),
        }
    }

    fn put_call(&self, out: &mut Vec<u8>, body: &[u8]) {
        out.extend_from_slice(
            &Message::Call(Call {
                id: 0,
                one_way: false,
                streams: Streams::NONE,
                encoding: Encoding::BYTES,
                timeout_ms: 60_000,
                caller: bytes::Bytes::new(),
                routing: Routing::to(Self::SERVICE, Self::METHOD).build(),
                body: body.to_vec().into(),
            })
            .to_vec(),
        );
    }

    fn put_event(&self, out: &mut Vec<u8>, body: &[u8]) {
        let event = Event {
            id: 0,
            one_way: true,
            retained: false,
            encoding: Encoding::BYTES,
            publisher: bytes::Bytes::new(),
            routing: Routing::on(Self::TOPIC).build(),
            body: body.to_vec().into(),
        };
        out.extend_from_slice(&Message::Event(event).to_vec());
    }

    fn renumber(&self, frame: &mut [u8], serial: u64) {
        frame[8..16].copy_from_slice(&serial.to_le_bytes());
    }

    fn put_reply(&self, out: &mut Vec<u8>, token: u64, body: &[u8]) {
        let body_len = u32::try_from(body.len()).expect("bodies of the benches fit u32");
        out.extend_from_slice(&Header { body_len, ..Header::new(Kind::REPLY, token) }.to_bytes());
        out.extend_from_slice(body);
    }

    fn step(&self, bytes: &[u8]) -> Step<u64> {
        let Some(head) = bytes.first_chunk::<HEADER_LEN>() else { return Step::Incomplete };
        let header = Header::from_bytes(head).expect("the broker sends frames");
        let len = header.frame_len();
        if bytes.len() < len {
            return Step::Incomplete;
        }
        match header.kind {
            Kind::CALL | Kind::REPLY | Kind::EVENT => {
                let body = HEADER_LEN + usize::from(header.routing_len)..len;
                Step::Found(Found { len, body, token: header.id })
            }
            Kind::GAP => panic!("events are lost"),
            Kind::ERROR | Kind::GOODBYE => panic!("{}", refused(&bytes[HEADER_LEN..len])),
            _ => Step::Skip(len),
        }
    }
}

/// Whether the bytes are a whole frame.
fn whole_frame(bytes: &[u8]) -> bool {
    bytes.first_chunk().and_then(Header::from_bytes).is_some_and(|header| bytes.len() >= header.frame_len())
}

fn expect_kind(kind: Kind, frame: &[u8]) -> io::Result<()> {
    let found = frame.first_chunk().and_then(Header::from_bytes).map(|header| header.kind);
    if found == Some(kind) { Ok(()) } else { Err(refused(frame)) }
}
