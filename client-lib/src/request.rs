//! Calls and replies whose bodies are bytes: what the typed calls are made of.

use std::time::Duration;

use bytes::Bytes;
use ipc_protocol::{Encoding, Fingerprint, MethodName, Target, transport::ReadBuffer};

/// A call whose body is already encoded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// Where it goes.
    pub target: Target,
    /// The method. `None`: the broker takes it from the target (`calc.add`), or calls the default method.
    pub method: Option<MethodName>,
    /// How the body is encoded.
    pub encoding: Encoding,
    /// The body, up to [`MAX_BODY`](crate::limits::MAX_BODY) bytes.
    pub body: Bytes,
    /// How long the caller waits: 1 ms to 1 h, other values are moved to the nearer end. `None` means the broker's default, 30 s
    /// unless it is configured otherwise.
    pub timeout: Option<Duration>,
    /// W3C trace context (`traceparent`), passed on untouched; up to 255 bytes.
    pub trace: Option<String>,
    /// What the types of a body in bincode are made of, as a [`MethodDescription`](crate::MethodDescription) says: a service that was
    /// built with others refuses it.
    pub fingerprint: Option<Fingerprint>,
}

impl Request {
    /// A call of `target` with a body of plain bytes.
    #[must_use]
    pub fn new(target: Target, body: impl Into<Bytes>) -> Self {
        Self {
            target,
            method: None,
            encoding: Encoding::BYTES,
            body: body.into(),
            timeout: None,
            trace: None,
            fingerprint: None,
        }
    }

    /// Calls this method, instead of the one that the target names or the default method.
    #[must_use]
    pub fn method(mut self, method: MethodName) -> Self {
        self.method = Some(method);
        self
    }

    /// Says how the body is encoded.
    #[must_use]
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Waits this long, instead of the broker's default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Says what the types of a body in bincode are made of.
    #[must_use]
    pub fn fingerprint(mut self, fingerprint: Fingerprint) -> Self {
        self.fingerprint = Some(fingerprint);
        self
    }

    /// Passes a trace context on.
    #[must_use]
    pub fn trace(mut self, trace: impl Into<String>) -> Self {
        self.trace = Some(trace.into());
        self
    }
}

/// A reply as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// How the body is encoded.
    pub encoding: Encoding,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// A reply in an encoding.
    #[must_use]
    pub fn new(encoding: Encoding, body: impl Into<Bytes>) -> Self {
        Self { encoding, body: body.into() }
    }

    /// A reply of plain bytes.
    #[must_use]
    pub fn bytes(body: impl Into<Bytes>) -> Self {
        Self::new(Encoding::BYTES, body)
    }

    /// The end of something that has no reply.
    pub(crate) fn empty() -> Self {
        Self::bytes(Bytes::new())
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
