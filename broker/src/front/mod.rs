//! Front: translates between dialects and the core. It touches no socket and decides nothing.
//!
//! ```text
//! bytes -> Inlet -> Incoming -> core -> Item -> Outlet -> Sheet -> bytes
//! ```
//!
//! The first byte of a connection chooses its [`Dialect`]. Each dialect is in one file: how its inlet reads, and how its items are
//! written.

pub mod datagram;
mod inlet;
mod lanes;
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

/// A protocol on the stream socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Dialect {
    /// Binary frames: docs/protocol.md.
    #[default]
    Native,
    /// Lines of text, used only by tests to check that the seam can carry another dialect.
    #[cfg(test)]
    Lines,
}

impl Dialect {
    /// The dialect of a connection that begins with this byte. The default is native, whose violation says what is wrong with the
    /// byte.
    #[must_use]
    pub fn of(first: u8) -> Self {
        match first {
            #[cfg(test)]
            lines::FIRST => Self::Lines,
            _ => Self::Native,
        }
    }

    /// Appends a message to a sheet.
    fn encode<F>(self, message: &Message<F>, sheet: &mut Sheet) {
        match self {
            Self::Native => native::encode(message, sheet),
            #[cfg(test)]
            Self::Lines => lines::encode(message, sheet),
        }
    }
}
