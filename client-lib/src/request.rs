//! Calls and replies whose bodies are bytes: what the typed calls are made of.

use std::time::Duration;

use bytes::Bytes;
use ipc_protocol::{Encoding, MethodName, Target, transport::ReadBuffer};

/// A call whose body is already encoded.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where it goes.
    pub target: Target,
    /// The method. `None`: the broker takes it from the target (`calc.add`), or calls the default method.
    pub method: Option<MethodName>,
    /// How the body is encoded.
    pub encoding: Encoding,
    /// The body, at most [`MAX_BODY`](crate::limits::MAX_BODY) bytes.
    pub body: Bytes,
    /// How long the caller waits: 1 ms to 1 h, other values are moved to the nearer end. `None` means 30 s.
    pub timeout: Option<Duration>,
    /// W3C trace context (`traceparent`), passed on untouched; at most 255 bytes.
    pub trace: Option<String>,
}

impl Request {
    /// A call of `target` with a body of plain bytes.
    #[must_use]
    pub fn new(target: Target, body: impl Into<Bytes>) -> Self {
        Self { target, method: None, encoding: Encoding::BYTES, body: body.into(), timeout: None, trace: None }
    }
}

/// A reply as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// How the body is encoded.
    pub encoding: Encoding,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// A reply of plain bytes.
    #[must_use]
    pub fn bytes(body: impl Into<Bytes>) -> Self {
        Self { encoding: Encoding::BYTES, body: body.into() }
    }

    /// The end of something that has no reply.
    pub(crate) fn empty() -> Self {
        Self { encoding: Encoding::BYTES, body: Bytes::new() }
    }

    /// The same reply in memory of its own. A body that came in one read is a slice of the buffer that all replies are read into;
    /// kept for long it would pin the whole of it.
    pub(crate) fn detached(mut self) -> Self {
        if !self.body.is_empty() && self.body.len() <= ReadBuffer::READ_LEN {
            self.body = Bytes::copy_from_slice(&self.body);
        }
        self
    }
}
