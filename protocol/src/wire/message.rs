//! Messages: decoded frames, a type for each kind, and their way back to bytes.
//!
//! They are generic over the type of a descriptor that may hold a body. `ipc_protocol::Message` and its kin are the ones without
//! descriptors.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    body::{Body, NoFd},
    wire::{
        error::{ErrorCode, Retry},
        event::{Event, Gap},
        frame::{Frame, Violation, Whole},
        header::{Encoding, Flags, Header, Kind},
        hello::{Hello, Welcome},
        lengths::{body_len, check_section, fds, len_u16},
        limits::MAX_TEXT,
        routing::{FieldTag, Routing, RoutingBuilder, RoutingError},
        stream::{Credit, Element, End, Streams},
    },
};

/// A decoded frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Message<F> {
    /// First frame of a client.
    Hello(Hello),
    /// The broker's answer to hello.
    Welcome(Welcome),
    /// A request for a service.
    Call(Call<F>),
    /// The successful end of a call.
    Reply(Reply<F>),
    /// The unsuccessful end of a call.
    Error(Failure<F>),
    /// One item of a stream.
    Item(Element<F>),
    /// The end of the items of a request.
    End(End),
    /// How many more items the receiver takes.
    Credit(Credit),
    /// The answer of a call is no longer wanted.
    Cancel(Cancel),
    /// A published event.
    Event(Event<F>),
    /// How many events were lost before the next one.
    Gap(Gap),
    /// The last frame of a connection.
    Goodbye(Goodbye),
    /// Asks for a pong with the same id.
    Ping(u64),
    /// Answers a ping.
    Pong(u64),
}

/// A request for a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call<F> {
    /// The sender's number of this call; grows with each call on a connection.
    pub id: u64,
    /// Whether the caller wants no reply.
    pub one_way: bool,
    /// Whether items follow the request, or come before the answer.
    pub streams: Streams,
    /// Encoding of the body.
    pub encoding: Encoding,
    /// Milliseconds left until the deadline; 0 means the default.
    pub timeout_ms: u32,
    /// The caller's stamp as an encoded routing field, empty from client to broker. Kept apart so that the broker passes the
    /// caller's own routing section on by reference.
    pub caller: Bytes,
    /// Service, method, trace context.
    pub routing: Routing,
    /// The opaque body.
    pub body: Body<F>,
}

/// The successful end of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply<F> {
    /// The call it ends.
    pub id: u64,
    /// Encoding of the body.
    pub encoding: Encoding,
    /// The opaque body.
    pub body: Body<F>,
}

/// The unsuccessful end of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure<F> {
    /// The call it ends.
    pub id: u64,
    /// What happened, from the error table.
    pub code: ErrorCode,
    /// Whether the same request may be sent again without running twice.
    pub retry: Retry,
    /// The application's own code in an `app_error`; 0 otherwise.
    pub app_code: u32,
    /// What happened, to what, and what to do: one sentence.
    pub text: String,
    /// Items of the request that were delivered, if the broker ends a call with a stream.
    pub delivered: Option<u64>,
    /// Encoding of the body.
    pub encoding: Encoding,
    /// The application's own error value in an `app_error`, or empty.
    pub body: Body<F>,
}

impl<F> Failure<F> {
    /// Takes the failure out of its place, where an empty one stays.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let (text, body) = (std::mem::take(&mut self.text), std::mem::take(&mut self.body));
        Self {
            id: self.id,
            code: self.code,
            retry: self.retry,
            app_code: self.app_code,
            text,
            delivered: self.delivered,
            encoding: self.encoding,
            body,
        }
    }

    /// A failure with the retry answer that its code implies, and no value of the application.
    #[must_use]
    pub fn new(id: u64, code: ErrorCode, text: impl Into<String>) -> Self {
        Self {
            id,
            code,
            retry: code.retry(),
            app_code: 0,
            text: text.into(),
            delivered: None,
            encoding: Encoding::BYTES,
            body: Body::default(),
        }
    }
}

/// The answer of a call is no longer wanted: sent by a caller, or by the broker to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The call whose answer is no longer wanted.
    pub id: u64,
    /// Why: `cancelled` or `deadline`.
    pub reason: ErrorCode,
    /// Items of the service that were delivered, if the broker ends a call with a stream.
    pub delivered: Option<u64>,
}

/// The last frame of a connection: why it is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// Why, from the error table.
    pub code: ErrorCode,
    /// Why, in a sentence.
    pub text: String,
}

impl<F> Message<F> {
    /// Reads a frame's routing section and fields.
    ///
    /// # Errors
    /// [`Violation`] says what is wrong with it.
    pub fn decode(frame: Frame) -> Result<Self, Violation> {
        let mut message = Self::Pong(0);
        message.decode_into(frame, &mut Routing::default())?;
        Ok(message)
    }

    /// Reads a frame into this place if it needs no further check: a reply, or a call whose routing section is `last`, which was
    /// checked. Says whether it has; otherwise the frame is where it was.
    #[inline]
    #[must_use]
    pub fn decode_checked(&mut self, frame: Whole<'_>, last: &Routing) -> bool {
        let (header, section) = (*frame.header(), frame.section());
        match header.kind {
            Kind::CALL if !section.is_empty() && section == &last.raw()[..] => {
                let body = frame.into_body().into_any();
                *self = Self::Call(Call::with(&header, Bytes::new(), last.clone(), body));
            }
            Kind::REPLY if section.is_empty() => {
                let body = frame.into_body().into_any();
                *self = Self::Reply(Reply { id: header.id, encoding: header.encoding, body });
            }
            _ => return false,
        }
        true
    }

    /// Reads a frame of a connection whose last call had the routing section `last` into this place: most callers repeat themselves,
    /// and a section that was checked once is not checked again.
    ///
    /// # Errors
    /// [`Violation`] says what is wrong with it; the place is as it was then.
    #[inline]
    pub fn decode_into(&mut self, frame: Frame, last: &mut Routing) -> Result<(), Violation> {
        let Frame { header, routing, body } = frame;
        *self = match header.kind {
            Kind::CALL => Self::Call(Call::decode(&header, routing, body, last)?),
            Kind::REPLY if routing.is_empty() => {
                Self::Reply(Reply { id: header.id, encoding: header.encoding, body: body.into_any() })
            }
            Kind::ITEM if routing.is_empty() => Self::Item(Element::with(&header, body.into_any())),
            Kind::EVENT => Self::Event(Event::decode(&header, routing, body)?),
            _ => Self::decode_rare(&header, &Routing::parse(routing)?, body)?,
        };
        Ok(())
    }

    fn decode_rare(header: &Header, routing: &Routing, body: Body) -> Result<Self, Violation> {
        let text = || routing.text(FieldTag::TEXT).unwrap_or_default().to_owned();
        Ok(match header.kind {
            Kind::REPLY => Self::Reply(Reply { id: header.id, encoding: header.encoding, body: body.into_any() }),
            Kind::ERROR => Self::Error(Failure {
                id: header.id,
                code: ErrorCode(header.code),
                retry: if header.flags.contains(Flags::RETRY_SAFE) { Retry::Safe } else { Retry::Unknown },
                app_code: header.detail,
                text: text(),
                delivered: routing.number(FieldTag::COUNT),
                encoding: header.encoding,
                body: body.into_any(),
            }),
            Kind::ITEM => Self::Item(Element::with(header, body.into_any())),
            Kind::END => Self::End(End::decode(header, routing)),
            Kind::CREDIT => Self::Credit(Credit::decode(header, routing)?),
            Kind::GAP => Self::Gap(Gap::decode(header, routing)?),
            Kind::CANCEL => {
                let (reason, delivered) = (ErrorCode(header.code), routing.number(FieldTag::COUNT));
                Self::Cancel(Cancel { id: header.id, reason, delivered })
            }
            Kind::HELLO => Self::Hello(Hello::from_routing(routing)?),
            Kind::WELCOME => Self::Welcome(Welcome::from_routing(routing)?),
            Kind::GOODBYE => Self::Goodbye(Goodbye { code: ErrorCode(header.code), text: text() }),
            Kind::PING => Self::Ping(header.id),
            Kind::PONG => Self::Pong(header.id),
            other => return Err(Violation::UnknownKind(other)),
        })
    }

    /// Appends the frame up to its body; [`Message::body`] follows it on the wire.
    #[inline]
    pub fn encode_head(&self, out: &mut Vec<u8>) {
        match self {
            Self::Call(call) => call.encode_head(out),
            Self::Reply(reply) => out.extend_from_slice(&reply.header().to_bytes()),
            Self::Event(event) => event.encode_head(out),
            Self::Item(item) => out.extend_from_slice(&item.header().to_bytes()),
            _ => self.encode_rare_head(out),
        }
    }

    #[inline(never)]
    fn encode_rare_head(&self, out: &mut Vec<u8>) {
        let (header, routing) = self.rare_head();
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(routing.raw());
    }

    /// The body, if the kind has one.
    #[must_use]
    pub fn body(&self) -> Option<&Body<F>> {
        match self {
            Self::Call(call) => Some(&call.body),
            Self::Reply(reply) => Some(&reply.body),
            Self::Error(failure) => Some(&failure.body),
            Self::Event(event) => Some(&event.body),
            Self::Item(item) => Some(&item.body),
            _ => None,
        }
    }

    /// Copies out whatever lies in a shared read buffer.
    pub fn detach(&mut self) {
        match self {
            Self::Call(call) => call.detach(),
            Self::Reply(reply) => reply.body.detach(),
            Self::Error(failure) => failure.body.detach(),
            Self::Event(event) => event.detach(),
            Self::Item(item) => item.body.detach(),
            _ => {}
        }
    }

    /// The kind of frame that carries it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::HELLO,
            Self::Welcome(_) => Kind::WELCOME,
            Self::Call(_) => Kind::CALL,
            Self::Reply(_) => Kind::REPLY,
            Self::Error(_) => Kind::ERROR,
            Self::Item(_) => Kind::ITEM,
            Self::End(_) => Kind::END,
            Self::Credit(_) => Kind::CREDIT,
            Self::Cancel(_) => Kind::CANCEL,
            Self::Event(_) => Kind::EVENT,
            Self::Gap(_) => Kind::GAP,
            Self::Goodbye(_) => Kind::GOODBYE,
            Self::Ping(_) => Kind::PING,
            Self::Pong(_) => Kind::PONG,
        }
    }

    /// Bytes of the whole frame.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        match self {
            Self::Call(call) => call.header().frame_len(),
            Self::Reply(reply) => reply.header().frame_len(),
            Self::Event(event) => event.header().frame_len(),
            Self::Item(item) => item.header().frame_len(),
            _ => self.header().frame_len(),
        }
    }

    /// The whole frame in one piece: for datagrams and tests. A body in a descriptor is not part of it.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_head(&mut out);
        out.extend_from_slice(self.body().map_or(&[][..], |body| body));
        out
    }

    /// The header of its frame.
    #[must_use]
    pub fn header(&self) -> Header {
        self.rare_head().0
    }

    /// Header and routing section of the rare kinds.
    fn rare_head(&self) -> (Header, Routing) {
        let (header, routing) = match self {
            Self::Call(call) => return (call.header(), call.routing.clone()),
            Self::Reply(reply) => (reply.header(), Routing::default()),
            Self::Event(event) => return (event.header(), event.routing.clone()),
            Self::Item(item) => (item.header(), Routing::default()),
            Self::Error(failure) => (failure.header(), text_section(&failure.text, failure.delivered)),
            Self::End(end) => (end.header(), text_section(&end.text, None)),
            Self::Credit(credit) => credit.head(),
            Self::Gap(gap) => gap.head(),
            Self::Cancel(cancel) => {
                let header = Header { code: cancel.reason.0, ..Header::new(Kind::CANCEL, cancel.id) };
                (header, text_section("", cancel.delivered))
            }
            Self::Goodbye(goodbye) => {
                (Header { code: goodbye.code.0, ..Header::new(Kind::GOODBYE, 0) }, text_section(&goodbye.text, None))
            }
            Self::Ping(id) => (Header::new(Kind::PING, *id), Routing::default()),
            Self::Pong(id) => (Header::new(Kind::PONG, *id), Routing::default()),
            Self::Hello(hello) => (Header::new(Kind::HELLO, 0), hello.to_routing()),
            Self::Welcome(welcome) => (Header::new(Kind::WELCOME, 0), welcome.to_routing()),
        };
        (Header { routing_len: len_u16(routing.raw()), ..header }, routing)
    }
}

impl<F> Call<F> {
    /// Takes the call out of its place, where an empty one stays.
    #[inline]
    pub fn take(&mut self) -> Self {
        Self {
            id: self.id,
            one_way: self.one_way,
            streams: self.streams,
            encoding: self.encoding,
            timeout_ms: self.timeout_ms,
            caller: std::mem::take(&mut self.caller),
            routing: std::mem::take(&mut self.routing),
            body: std::mem::take(&mut self.body),
        }
    }

    /// Copies out of a shared read buffer what lies in it.
    pub fn detach(&mut self) {
        if matches!(self.body, Body::Inline { pinned: true, .. }) {
            self.routing = self.routing.detached();
        }
        self.body.detach();
    }

    /// The header of its frame.
    #[must_use]
    pub fn header(&self) -> Header {
        Header {
            flags: if self.one_way { Flags::ONE_WAY } else { Flags::NONE }.with(self.streams.flags()),
            encoding: self.encoding,
            fds: fds(&self.body),
            time_ms: self.timeout_ms,
            routing_len: len_u16(self.routing.raw()) + len_u16(&self.caller),
            body_len: body_len(&self.body),
            ..Header::new(Kind::CALL, self.id)
        }
    }

    /// Appends the frame up to its body.
    #[inline]
    pub fn encode_head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.header().to_bytes());
        out.extend_from_slice(&self.caller);
        out.extend_from_slice(self.routing.raw());
    }

    #[inline]
    fn decode(header: &Header, section: Bytes, body: Body, last: &mut Routing) -> Result<Self, Violation> {
        let (caller, routing) = if section == *last.raw() && !section.is_empty() {
            (Bytes::new(), last.clone())
        } else {
            let mut routing = Routing::parse(section)?;
            let caller = routing.split_caller().unwrap_or_default();
            if routing.service().is_empty() {
                return Err(RoutingError::Missing(FieldTag::SERVICE.0).into());
            }
            let may_be_split = !caller.is_empty() && !routing.method().is_empty(); // by the broker, which has stamped it
            check_section(&routing, may_be_split)?;
            if caller.is_empty() && routing.raw().len() <= REMEMBERED {
                *last = routing.detached();
            }
            (caller, routing)
        };
        Ok(Self::with(header, caller, routing, body.into_any()))
    }

    #[inline]
    fn with(header: &Header, caller: Bytes, routing: Routing, body: Body<F>) -> Self {
        Self {
            id: header.id,
            one_way: header.flags.contains(Flags::ONE_WAY),
            streams: Streams::of(header.flags),
            encoding: header.encoding,
            timeout_ms: header.time_ms,
            caller,
            routing,
            body,
        }
    }
}

impl<F> Reply<F> {
    /// The header of its frame.
    #[must_use]
    pub fn header(&self) -> Header {
        Header {
            encoding: self.encoding,
            fds: fds(&self.body),
            body_len: body_len(&self.body),
            ..Header::new(Kind::REPLY, self.id)
        }
    }
}

impl<F> Failure<F> {
    /// The header of its frame; the length of its text is filled in with the text.
    fn header(&self) -> Header {
        Header {
            flags: match self.retry {
                Retry::Safe => Flags::RETRY_SAFE,
                Retry::Unknown => Flags::NONE,
            },
            encoding: self.encoding,
            fds: fds(&self.body),
            body_len: body_len(&self.body),
            code: self.code.0,
            detail: self.app_code,
            ..Header::new(Kind::ERROR, self.id)
        }
    }
}

impl Body<NoFd> {
    /// The same body where a descriptor could be.
    #[inline]
    pub(crate) fn into_any<F>(self) -> Body<F> {
        match self {
            Self::Inline { bytes, pinned } => Body::Inline { bytes, pinned },
            Self::Fd(never) => match never {},
        }
    }
}

fn text_section(text: &str, count: Option<u64>) -> Routing {
    if text.is_empty() && count.is_none() {
        return Routing::default();
    }
    let mut section = RoutingBuilder::default();
    if !text.is_empty() {
        section.put_text(FieldTag::TEXT, text, MAX_TEXT);
    }
    if let Some(count) = count {
        section.put(FieldTag::COUNT, &count.to_le_bytes());
    }
    section.build()
}

/// Longest section that a connection remembers: names of ordinary length and no trace context, which differs with each call.
const REMEMBERED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Call, Message,
        wire::{
            frame::{Decoder, Incoming},
            identity::Identity,
            limits::{MAX_BODY, MAX_GROUPS, MAX_NAME, MAX_ROUTING},
            name::PeerNumber,
        },
    };

    /// A call to a dotted target whose routing section has `len` bytes.
    fn call_with_section_of(len: usize) -> Call {
        let service = "a.".repeat(MAX_NAME / 2) + "b";
        let trace = vec![b'0'; len - 3 - service.len() - 3];
        let routing = Routing::to(&service, "").put(FieldTag::TRACE, &trace).build();
        assert_eq!(routing.raw().len(), len);
        Call {
            id: 1,
            one_way: false,
            streams: Streams::NONE,
            encoding: Encoding::BYTES,
            timeout_ms: 0,
            caller: Bytes::new(),
            routing,
            body: Body::default(),
        }
    }

    fn receive(message: &Message) -> Result<Message, Violation> {
        let mut decoder = Decoder::new(MAX_BODY);
        decoder.feed(message.to_vec().into());
        match decoder.next()? {
            Some(Incoming::Frame(frame)) => Message::decode(frame),
            other => panic!("no frame: {other:?}"),
        }
    }

    /// The call as the broker delivers it: with the stamp of a caller in many groups.
    fn stamped(call: Call) -> Message {
        let identity = Identity { groups: vec![1; MAX_GROUPS], ..Identity::new(1, 1) };
        Message::Call(Call { caller: identity.stamp(Some(PeerNumber(u64::MAX))), ..call })
    }

    fn longest_call() -> Call {
        let sections = (600..=usize::from(MAX_ROUTING)).rev().map(call_with_section_of);
        sections.into_iter().find(|call| receive(&Message::Call(call.clone())).is_ok()).unwrap()
    }

    #[test]
    fn the_longest_call_has_room_for_the_stamp() {
        let delivered = stamped(longest_call());
        assert_eq!(receive(&delivered), Ok(delivered));
    }

    #[test]
    fn the_longest_call_has_room_for_the_stamp_after_its_target_was_split() {
        let call = longest_call();
        let (service, method) = str::from_utf8(call.routing.service()).unwrap().rsplit_once('.').unwrap();
        let routing = call.routing.retarget(service, method);
        assert_eq!(routing.field(FieldTag::TRACE), call.routing.field(FieldTag::TRACE));

        let delivered = stamped(Call { routing, ..call });
        assert_eq!(receive(&delivered), Ok(delivered));
    }
}
