//! The inlet of a connection: from bytes to messages, in whatever dialect the connection speaks.

use bytes::Bytes;
use ipc_protocol::{RoutingError, Violation, wire::Message};
use serde::{Deserialize, Serialize};

use super::{Dialect, native};
use crate::core::Begun;

/// What an inlet found next.
#[derive(Debug)]
pub enum Incoming {
    /// A whole message, which lies in its place now.
    Message,
    /// A frame has begun that is longer than what the inlet holds unasked. It stands still until [`Inlet::assemble`] or
    /// [`Inlet::skip`] is called.
    Begun(Begun),
    /// A call of a service or a method that cannot exist: it is refused, and the connection lives.
    Misnamed {
        /// The sender's number of the call.
        id: u64,
        /// What is wrong with the name.
        error: RoutingError,
    },
    /// The frame that was left out has gone by.
    Skipped,
}

/// The receiving half of a connection. Between two reads it keeps what is not complete, and nothing else.
#[derive(Debug, Default, Serialize, Deserialize)]
pub enum Inlet {
    /// Nothing has come yet.
    #[default]
    Silent,
    /// Frames.
    Native(native::Inlet),
    /// Lines.
    #[cfg(test)]
    Lines(super::lines::Inlet),
}

impl Inlet {
    /// Takes what was read. All messages must have been taken with [`Inlet::next`] before more is fed.
    pub fn feed(&mut self, bytes: Bytes) {
        if let (Self::Silent, Some(first)) = (&self, bytes.first()) {
            *self = match Dialect::of(*first) {
                Dialect::Native => Self::Native(native::Inlet::new()),
                #[cfg(test)]
                Dialect::Lines => Self::Lines(super::lines::Inlet::default()),
            };
        }
        match self {
            Self::Silent => {}
            Self::Native(inlet) => inlet.feed(bytes),
            #[cfg(test)]
            Self::Lines(inlet) => inlet.feed(&bytes),
        }
    }

    /// The next message, which is put into a place of the caller's, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// A [`Violation`] after which the connection must be closed.
    #[inline]
    pub fn next<F>(&mut self, into: &mut Message<F>) -> Result<Option<Incoming>, Violation> {
        match self {
            Self::Silent => Ok(None),
            Self::Native(inlet) => inlet.next(into),
            #[cfg(test)]
            Self::Lines(inlet) => inlet.next(into),
        }
    }

    /// Grants the memory of the frame that has begun.
    pub fn assemble(&mut self) {
        if let Self::Native(inlet) = self {
            inlet.decoder().assemble();
        }
    }

    /// Leaves out the frame that has begun: its bytes are skipped as they come.
    pub fn skip(&mut self) {
        if let Self::Native(inlet) = self {
            inlet.skip();
        }
    }

    /// Where the rest of a granted frame can be read straight into, and how many bytes are missing.
    pub fn direct(&mut self) -> Option<(&mut Vec<u8>, usize)> {
        match self {
            Self::Native(inlet) => inlet.decoder().direct(),
            _ => None,
        }
    }

    /// Moves what has not been looked at out of the shared read buffer: for an inlet that stands still.
    pub fn detach(&mut self) {
        if let Self::Native(inlet) = self {
            inlet.decoder().detach();
        }
    }

    /// Bytes of an incomplete message that it holds, `None` if there is no such message.
    #[must_use]
    pub fn partial(&self) -> Option<usize> {
        match self {
            Self::Silent => None,
            Self::Native(inlet) => inlet.partial(),
            #[cfg(test)]
            Self::Lines(inlet) => inlet.partial(),
        }
    }

    /// The dialect; native until something has come.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Silent | Self::Native(_) => Dialect::Native,
            #[cfg(test)]
            Self::Lines(_) => Dialect::Lines,
        }
    }
}
