//! Messages: decoded frames, one type a kind, and their way back to bytes.

use bytes::Bytes;

use crate::wire::{
    error::{ErrorCode, Retry},
    frame::{Frame, Violation},
    header::{Encoding, Flags, Header, Kind},
    hello::{Hello, Welcome},
    limits::{HEADER_LEN, MAX_CALL_ROUTING, MAX_TEXT, SPLIT_TARGET},
    routing::{FieldTag, Routing, RoutingBuilder, RoutingError},
};

/// A decoded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// First frame of a client.
    Hello(Hello),
    /// The broker's answer to hello.
    Welcome(Welcome),
    /// A request for a service.
    Call(Call),
    /// The successful end of a call.
    Reply(Reply),
    /// The unsuccessful end of a call.
    Error(Failure),
    /// The end of interest in a call.
    Cancel(Cancel),
    /// The last frame of a connection.
    Goodbye(Goodbye),
    /// Asks for a pong with the same id.
    Ping(u64),
    /// Answers a ping.
    Pong(u64),
}

/// A request for a service.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Call {
    /// The sender's number of this call; grows with each call on a connection.
    pub id: u64,
    /// Whether the caller wants no reply.
    pub one_way: bool,
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
    pub body: Bytes,
}

/// The successful end of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The call it ends.
    pub id: u64,
    /// Encoding of the body.
    pub encoding: Encoding,
    /// The opaque body.
    pub body: Bytes,
}

/// The unsuccessful end of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The call it ends.
    pub id: u64,
    /// What happened.
    pub code: ErrorCode,
    /// Whether the same request may be sent again without running twice.
    pub retry: Retry,
    /// The application's own code in an `app_error`; 0 otherwise.
    pub app_code: u32,
    /// What happened, to what, and what to do: one sentence.
    pub text: String,
    /// Encoding of the body.
    pub encoding: Encoding,
    /// The application's own error value in an `app_error`, or empty.
    pub body: Bytes,
}

impl Failure {
    /// A failure with the retry answer that its code implies, and no value of the application.
    #[must_use]
    pub fn new(id: u64, code: ErrorCode, text: impl Into<String>) -> Self {
        Self {
            id,
            code,
            retry: code.retry(),
            app_code: 0,
            text: text.into(),
            encoding: Encoding::BYTES,
            body: Bytes::new(),
        }
    }
}

/// The end of interest in a call: from a caller, or from the broker to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// The call that nobody waits for any more.
    pub id: u64,
    /// Why: `cancelled` or `deadline`.
    pub reason: ErrorCode,
}

/// The last frame of a connection: why it is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goodbye {
    /// What happened.
    pub code: ErrorCode,
    /// What happened, in a sentence.
    pub text: String,
}

impl Message {
    /// Reads a frame's routing section and fields.
    ///
    /// # Errors
    /// [`Violation`] says what is wrong with it.
    pub fn decode(frame: Frame) -> Result<Self, Violation> {
        let Frame { header, routing, body } = frame;
        let mut routing = if routing.is_empty() { Routing::default() } else { Routing::parse(routing)? };
        let text = |routing: &Routing| routing.text(FieldTag::TEXT).unwrap_or_default().to_owned();
        Ok(match header.kind {
            Kind::CALL => {
                let caller = routing.split_caller().unwrap_or_default();
                if routing.service().is_empty() {
                    return Err(RoutingError::Missing(FieldTag::SERVICE.0).into());
                }
                check_call_section(&routing)?;
                Self::Call(Call {
                    id: header.id,
                    one_way: header.flags.contains(Flags::ONE_WAY),
                    encoding: header.encoding,
                    timeout_ms: header.time_ms,
                    caller,
                    routing,
                    body,
                })
            }
            Kind::REPLY => Self::Reply(Reply { id: header.id, encoding: header.encoding, body }),
            Kind::ERROR => Self::Error(Failure {
                id: header.id,
                code: ErrorCode(header.code),
                retry: if header.flags.contains(Flags::RETRY_SAFE) { Retry::Safe } else { Retry::Unknown },
                app_code: header.detail,
                text: text(&routing),
                encoding: header.encoding,
                body,
            }),
            Kind::CANCEL => Self::Cancel(Cancel { id: header.id, reason: ErrorCode(header.code) }),
            Kind::HELLO => Self::Hello(Hello::from_routing(&routing)?),
            Kind::WELCOME => Self::Welcome(Welcome::from_routing(&routing)?),
            Kind::GOODBYE => Self::Goodbye(Goodbye { code: ErrorCode(header.code), text: text(&routing) }),
            Kind::PING => Self::Ping(header.id),
            Kind::PONG => Self::Pong(header.id),
            other => return Err(Violation::UnknownKind(other)),
        })
    }

    /// The parts of the frame, see [`Message::into_parts`].
    #[must_use]
    pub fn encode(&self) -> Parts {
        self.clone().into_parts()
    }

    /// The parts of the frame in the order of the wire: header, caller's stamp, routing section, body. Nothing is copied.
    #[must_use]
    pub fn into_parts(self) -> Parts {
        match self {
            Self::Call(call) => call.into_parts(),
            Self::Reply(reply) => Parts::new(
                Header { encoding: reply.encoding, ..Header::new(Kind::REPLY, reply.id) },
                Routing::default(),
                reply.body,
            ),
            Self::Error(failure) => failure.into_parts(),
            Self::Cancel(cancel) => {
                Parts::bare(Header { code: cancel.reason.0, ..Header::new(Kind::CANCEL, cancel.id) })
            }
            Self::Goodbye(goodbye) => Parts::new(
                Header { code: goodbye.code.0, ..Header::new(Kind::GOODBYE, 0) },
                text_section(&goodbye.text),
                Bytes::new(),
            ),
            Self::Ping(id) => Parts::bare(Header::new(Kind::PING, id)),
            Self::Pong(id) => Parts::bare(Header::new(Kind::PONG, id)),
            Self::Hello(hello) => Parts::new(Header::new(Kind::HELLO, 0), hello.to_routing(), Bytes::new()),
            Self::Welcome(welcome) => Parts::new(Header::new(Kind::WELCOME, 0), welcome.to_routing(), Bytes::new()),
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
            Self::Cancel(_) => Kind::CANCEL,
            Self::Goodbye(_) => Kind::GOODBYE,
            Self::Ping(_) => Kind::PING,
            Self::Pong(_) => Kind::PONG,
        }
    }

    /// Bytes of the whole frame, without encoding the hot kinds.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        match self {
            Self::Call(call) => HEADER_LEN + call.caller.len() + call.routing.raw().len() + call.body.len(),
            Self::Reply(reply) => HEADER_LEN + reply.body.len(),
            Self::Cancel(_) | Self::Ping(_) | Self::Pong(_) => HEADER_LEN,
            Self::Hello(_) | Self::Welcome(_) | Self::Error(_) | Self::Goodbye(_) => self.encode().len(),
        }
    }

    /// The whole frame in one piece: for datagrams and tests.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let parts = self.encode();
        let mut out = Vec::with_capacity(parts.len());
        out.extend_from_slice(&parts.header.to_bytes());
        out.extend_from_slice(&parts.caller);
        out.extend_from_slice(&parts.routing);
        out.extend_from_slice(&parts.body);
        out
    }
}

impl Call {
    /// The header of its frame.
    pub(crate) fn header(&self) -> Header {
        let flags = if self.one_way { Flags::ONE_WAY } else { Flags::NONE };
        Header {
            flags,
            encoding: self.encoding,
            time_ms: self.timeout_ms,
            routing_len: len_u16(self.routing.raw()) + len_u16(&self.caller),
            body_len: body_len(&self.body),
            ..Header::new(Kind::CALL, self.id)
        }
    }

    fn into_parts(self) -> Parts {
        Parts { header: self.header(), caller: self.caller, routing: self.routing.into_raw(), body: self.body }
    }
}

impl Failure {
    fn into_parts(self) -> Parts {
        let flags = match self.retry {
            Retry::Safe => Flags::RETRY_SAFE,
            Retry::Unknown => Flags::NONE,
        };
        let header = Header {
            flags,
            encoding: self.encoding,
            code: self.code.0,
            detail: self.app_code,
            ..Header::new(Kind::ERROR, self.id)
        };
        Parts::new(header, text_section(&self.text), self.body)
    }
}

/// A frame's parts, ready for a gathering write.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The header, lengths filled in.
    pub header: Header,
    /// The caller's stamp: the first field of the routing section, or empty.
    pub caller: Bytes,
    /// The rest of the routing section.
    pub routing: Bytes,
    /// The body.
    pub body: Bytes,
}

impl Parts {
    fn new(mut header: Header, routing: Routing, body: Bytes) -> Self {
        let routing = routing.into_raw();
        header.routing_len = len_u16(&routing);
        header.body_len = body_len(&body);
        Self { header, caller: Bytes::new(), routing, body }
    }

    fn bare(header: Header) -> Self {
        Self { header, caller: Bytes::new(), routing: Bytes::new(), body: Bytes::new() }
    }

    /// Bytes of the whole frame.
    #[must_use]
    pub fn len(&self) -> usize {
        self.header.frame_len()
    }

    /// Never: a frame has a header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// Refuses a section that would leave the broker no room. One with a method may be the broker's own work: a target that was split.
fn check_call_section(routing: &Routing) -> Result<(), Violation> {
    let limit = if routing.method().is_empty() { MAX_CALL_ROUTING } else { MAX_CALL_ROUTING + SPLIT_TARGET };
    let len = len_u16(routing.raw());
    if len > limit { Err(Violation::CallSectionTooLong(len)) } else { Ok(()) }
}

fn text_section(text: &str) -> Routing {
    if text.is_empty() {
        return Routing::default();
    }
    RoutingBuilder::default().put_text(FieldTag::TEXT, text, MAX_TEXT).build()
}

fn body_len(body: &Bytes) -> u32 {
    u32::try_from(body.len()).expect("a body is checked against MAX_BODY before it is sent")
}

fn len_u16(bytes: &Bytes) -> u16 {
    u16::try_from(bytes.len()).expect("a routing section is built within MAX_ROUTING")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{
        frame::{Decoder, Incoming},
        identity::Identity,
        limits::{MAX_BODY, MAX_GROUPS, MAX_NAME, MAX_ROUTING},
        name::PeerNumber,
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
            encoding: Encoding::BYTES,
            timeout_ms: 0,
            caller: Bytes::new(),
            routing,
            body: Bytes::new(),
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
