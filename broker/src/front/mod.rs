//! Front: turns what a dialect says into what the core takes, and back. It touches no socket and decides nothing.
//!
//! ```text
//! bytes -> Inlet -> Incoming -> core -> Item -> Outlet -> Sheet -> bytes
//! ```
//!
//! The first byte of a connection chooses its [`Dialect`]. Everything that a dialect is stands in one file: how its inlet reads, and
//! how its items are written.

pub mod datagram;
mod inlet;
#[cfg(test)]
mod lines;
mod native;
mod outlet;
mod sheet;

pub use inlet::{Incoming, Inlet};
pub use outlet::{Outlet, Pool, Written};
pub use sheet::Sheet;

use ipc_protocol::wire::Message;
use serde::{Deserialize, Serialize};

/// A way to speak with the broker over the stream socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Dialect {
    /// Binary frames: docs/protocol.md.
    #[default]
    Native,
    /// Lines of text, spoken by tests alone: what the seam has to carry.
    #[cfg(test)]
    Lines,
}

impl Dialect {
    /// The dialect of a connection that begins with this byte. What is none of the others is taken for a native frame, which says
    /// what is wrong with it.
    #[must_use]
    pub fn of(first: u8) -> Self {
        match first {
            #[cfg(test)]
            lines::FIRST => Self::Lines,
            _ => Self::Native,
        }
    }

    /// Puts a message behind what stands on a sheet.
    fn encode<F>(self, message: &Message<F>, sheet: &mut Sheet) {
        match self {
            Self::Native => native::encode(message, sheet),
            #[cfg(test)]
            Self::Lines => lines::encode(message, sheet),
        }
    }
}
