//! The inlet of a connection: from bytes to messages, in the connection's dialect.

use bytes::Bytes;
use ipc_protocol::{ErrorCode, RoutingError, Violation, wire::Message};
use serde::{Deserialize, Serialize};

use super::{Dialect, json, native};
use crate::core::Begun;

/// The next thing that an inlet has found.
#[derive(Debug)]
pub enum Incoming {
    /// A whole message, which is now in its place.
    Message,
    /// A frame has begun that is longer than the inlet may hold without asking, or all that was granted to it has come. The inlet stops
    /// until [`Inlet::assemble`] or [`Inlet::skip`] is called.
    Begun(Begun),
    /// A call to an impossible name, which is refused without closing the connection.
    Misnamed {
        /// The sender's number for the call.
        id: u64,
        /// What is wrong with the name.
        error: RoutingError,
    },
    /// What can't be read as a message, which is refused without closing the connection.
    Malformed {
        /// The number under which it is refused.
        id: u64,
        /// The error.
        code: ErrorCode,
        /// What is wrong with it.
        text: String,
    },
    /// A skipped frame has ended.
    Skipped,
}

/// The receiving half of a connection. Between two reads it keeps only an incomplete message.
#[derive(Debug, Default, Serialize, Deserialize)]
pub enum Inlet {
    /// Nothing has been received yet.
    #[default]
    Silent,
    /// Frames.
    Native(native::Inlet),
    /// JSON-RPC.
    Json(Box<json::Inlet>),
}

impl Inlet {
    /// Takes bytes that were read. All messages must be taken with [`Inlet::next`] before more bytes are fed.
    #[inline]
    pub fn feed(&mut self, bytes: Bytes) {
        if let (Self::Silent, Some(first)) = (&self, bytes.first()) {
            *self = match Dialect::of(*first) {
                Dialect::Native => Self::Native(native::Inlet::new()),
                Dialect::Json => Self::Json(Box::default()),
            };
        }
        match self {
            Self::Silent => {}
            Self::Native(inlet) => inlet.feed(bytes),
            Self::Json(inlet) => inlet.feed(bytes),
        }
    }

    /// The next message, put into the caller's place, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// A [`Violation`] after which the connection must be closed.
    #[inline]
    pub fn next<F>(&mut self, into: &mut Message<F>) -> Result<Option<Incoming>, Violation> {
        match self {
            Self::Silent => Ok(None),
            Self::Native(inlet) => inlet.next(into),
            Self::Json(inlet) => inlet.next(into),
        }
    }

    /// Grants memory to the frame that has begun, `bytes` in all.
    pub fn assemble(&mut self, bytes: usize) {
        match self {
            Self::Silent => {}
            Self::Native(inlet) => inlet.decoder().grant(bytes),
            Self::Json(inlet) => inlet.grant(bytes),
        }
    }

    /// Skips the frame that has begun, as its bytes arrive.
    pub fn skip(&mut self) {
        match self {
            Self::Silent => {}
            Self::Native(inlet) => inlet.skip(),
            Self::Json(inlet) => inlet.skip(),
        }
    }

    /// Memory that what was granted to a frame can be read into directly, and the number of missing bytes.
    pub fn direct(&mut self) -> Option<(&mut Vec<u8>, usize)> {
        match self {
            Self::Native(inlet) => inlet.decoder().direct(),
            Self::Silent | Self::Json(_) => None,
        }
    }

    /// Copies unread bytes out of the shared read buffer, for an inlet that has stopped.
    pub fn detach(&mut self) {
        match self {
            Self::Silent => {}
            Self::Native(inlet) => inlet.decoder().detach(),
            Self::Json(inlet) => inlet.detach(),
        }
    }

    /// Bytes that it holds of an incomplete message, `None` if there is none.
    #[must_use]
    pub fn partial(&self) -> Option<usize> {
        match self {
            Self::Silent => None,
            Self::Native(inlet) => inlet.partial(),
            Self::Json(inlet) => inlet.partial(),
        }
    }

    /// Bytes that it holds, whether of complete messages or not.
    #[must_use]
    pub fn held(&self) -> usize {
        match self {
            Self::Silent => 0,
            Self::Native(inlet) => inlet.held(),
            Self::Json(inlet) => inlet.held(),
        }
    }

    /// The dialect, native until something is received.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Silent | Self::Native(_) => Dialect::Native,
            Self::Json(_) => Dialect::Json,
        }
    }

    /// The next message that the dialect sends the router in its peer's place, put into the caller's place. Ask after each write.
    pub fn say<F>(&mut self, into: &mut Message<F>) -> bool {
        match self {
            Self::Silent | Self::Native(_) => false,
            Self::Json(inlet) => inlet.say(into),
        }
    }

    /// Bytes that it keeps for the calls of its peer, if they have changed since it was last asked.
    pub fn take_kept(&mut self) -> Option<usize> {
        match self {
            Self::Silent | Self::Native(_) => None,
            Self::Json(inlet) => inlet.take_kept(),
        }
    }

    /// Whether its connection is to be written although nothing was queued for it.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        match self {
            Self::Silent | Self::Native(_) => false,
            Self::Json(inlet) => inlet.has_whole_batch(),
        }
    }

    /// What the outlet has to know to speak the dialect.
    pub(super) fn desk(&self) -> Option<&json::Desk> {
        match self {
            Self::Silent | Self::Native(_) => None,
            Self::Json(inlet) => Some(&inlet.desk),
        }
    }

    pub(super) fn desk_mut(&mut self) -> Option<&mut json::Desk> {
        match self {
            Self::Silent | Self::Native(_) => None,
            Self::Json(inlet) => Some(&mut inlet.desk),
        }
    }
}
