//! From values to calls and from replies to values, and what is said when they do not fit.

use std::{num::NonZeroU64, time::Duration};

use bytes::Bytes;
use ipc_protocol::{
    Encoding, ErrorCode, FieldTag, MethodName, Retry, Routing, Streams,
    codec::{self, CodecError},
    control::{self, Operation},
    limits::MAX_NAME,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{Error, Result},
    request::{Request, Response},
    session::{Keep, Payload, patience::to_ms},
};

/// A call, or an event, on its way out. Its id is given where it leaves.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) what: What,
    pub(crate) routing: &'a Routing,
    pub(crate) encoding: Encoding,
    /// As on the wire: 0 means the broker's default.
    pub(crate) timeout_ms: u32,
    pub(crate) body: Payload<'a>,
    pub(crate) answer: Answer,
    /// The delivered call on whose behalf it is made: it ends with that one.
    pub(crate) parent: Option<NonZeroU64>,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A call of a service.
    Call,
    /// A call of the broker that asks for events.
    Subscribe(Keep),
    /// A call of a service, with streams.
    Stream(Streams),
    /// An event.
    Event {
        /// Whether it is kept as the last of its topic.
        retained: bool,
    },
}

/// Whether a call wants a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Wanted,
    /// One way. That the broker has taken it is wanted.
    Unwanted,
    /// One way, and nothing is wanted to be known.
    Unheard,
}

impl<'a> Outgoing<'a> {
    /// A call of bytes.
    pub(crate) fn of_request(request: &Request, routing: &'a Routing, answer: Answer) -> Self {
        Self {
            what: What::Call,
            routing,
            encoding: request.encoding,
            timeout_ms: request.timeout.map_or(0, to_ms),
            body: Payload::Shared(request.body.clone()),
            answer,
            parent: None,
        }
    }
}

/// A call of the broker's own service, ready to be sent.
pub(crate) struct Operated {
    routing: Routing,
    body: Bytes,
    timeout_ms: u32,
}

impl Operated {
    /// A call of a known operation.
    ///
    /// # Errors
    /// `too_large` if the request doesn't fit a body.
    pub(crate) fn of<O: Operation>(request: &O::Request, timeout: Option<Duration>) -> Result<Self> {
        Self::new(O::NAME, request, timeout)
    }

    /// # Errors
    /// `usage` if `operation` isn't a method name.
    pub(crate) fn new<Q: Serialize>(operation: &str, request: &Q, timeout: Option<Duration>) -> Result<Self> {
        let method = MethodName::parse(operation).map_err(|error| misnamed("method", operation, &error))?;
        Ok(Self {
            routing: Routing::to(control::SERVICE, method.as_str()).build(),
            body: encode(Encoding::JSON, request)?,
            timeout_ms: timeout.map_or(0, to_ms),
        })
    }

    pub(crate) fn outgoing(&self) -> Outgoing<'_> {
        Outgoing {
            what: What::Call,
            routing: &self.routing,
            encoding: Encoding::JSON,
            timeout_ms: self.timeout_ms,
            body: Payload::Shared(self.body.clone()),
            answer: Answer::Wanted,
            parent: None,
        }
    }
}

/// The routing section of a call of bytes.
///
/// # Errors
/// `usage` for a trace context that is too long.
pub(crate) fn routing_of(request: &Request) -> Result<Routing> {
    let method = request.method.as_ref().map_or(request.target.method(), MethodName::as_str);
    let mut routing = Routing::to(&request.target.service(), method);
    if let Some(trace) = &request.trace {
        if trace.len() > MAX_NAME {
            let text = format!("the trace context has {} bytes, the limit is {MAX_NAME}", trace.len());
            return Err(Error::new(ErrorCode::USAGE, text));
        }
        routing.put(FieldTag::TRACE, trace.as_bytes());
    }
    if let Some(fingerprint) = request.fingerprint {
        routing.put(FieldTag::FINGERPRINT, &fingerprint.0.to_le_bytes());
    }
    Ok(routing.build())
}

/// Reads the answer of the broker's own service.
///
/// # Errors
/// As [`decode_reply`].
pub(crate) fn decode_answer<O: Operation>(response: &Response) -> Result<O::Answer> {
    decode_reply(control::SERVICE, O::NAME, response)
}

/// Reads a reply.
///
/// # Errors
/// `protocol`, and a retry is not safe: the call has run.
pub(crate) fn decode_reply<A: DeserializeOwned>(service: &str, method: &str, response: &Response) -> Result<A> {
    codec::decode(response.encoding, &response.body).map_err(|error| {
        let text = format!("the reply of {service}.{method} is not what this program expects: {error}");
        Error::new(ErrorCode::PROTOCOL, text).with_retry(Retry::Unknown)
    })
}

/// The encoding of what a typed method answers: that of the request, and JSON to a caller that sent bytes.
pub(crate) fn reply_encoding(request: Encoding) -> Encoding {
    if request == Encoding::BINCODE { Encoding::BINCODE } else { Encoding::JSON }
}

/// A body.
///
/// # Errors
/// `too_large` or `invalid`.
pub(crate) fn encode<T: Serialize>(encoding: Encoding, value: &T) -> Result<Bytes> {
    codec::encode(encoding, value).map(Bytes::from).map_err(|error| unencodable(&error))
}

/// What a request that cannot be encoded ends with.
pub(crate) fn unencodable(error: &CodecError) -> Error {
    let code = match error {
        CodecError::TooLarge(_) => ErrorCode::TOO_LARGE,
        _ => ErrorCode::INVALID,
    };
    Error::new(code, format!("the request cannot be sent: {error}"))
}

pub(crate) fn misnamed(what: &str, name: &str, error: &ipc_protocol::InvalidName) -> Error {
    Error::new(ErrorCode::USAGE, format!("{name:?} is not a valid name of a {what}: {error}"))
}
