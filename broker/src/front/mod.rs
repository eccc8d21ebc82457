//! Front: translates between dialects and the core. It touches no socket and decides nothing.
//!
//! ```text
//! bytes -> Inlet -> Incoming -> core -> Item -> Outlet -> Sheet -> bytes
//! ```
//!
//! The first byte of a connection chooses its [`Dialect`]. Each dialect is in one module: how its inlet reads, and how its items are
//! written.

pub mod datagram;
mod inlet;
pub mod json;
mod lanes;
mod native;
mod outlet;
mod sheet;

pub use inlet::{Incoming, Inlet};
pub use outlet::{Outlet, Pool, Written};
pub use sheet::Sheet;

/// A protocol on the stream socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// Binary frames: docs/protocol.md.
    #[default]
    Native,
    /// JSON-RPC 2.0: docs/json-rpc.md.
    Json,
}

impl Dialect {
    /// The dialect of a connection that begins with this byte. The default is native, whose violation says what is wrong with the
    /// byte.
    #[must_use]
    pub fn of(first: u8) -> Self {
        if json::FIRST.contains(&first) { Self::Json } else { Self::Native }
    }
}
