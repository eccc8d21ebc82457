//! The wire of ipcd, shared by the broker and the client library.
//!
//! This crate owns what two processes must agree on: the frame header ([`Header`]), the routing section ([`Routing`]), the
//! message kinds ([`Message`]), names and targets, the error table ([`ErrorCode`]), the body codec ([`codec`]), the operations
//! of the broker's own service ([`control`]) and the socket transport ([`transport`]). It knows no policy and reads no clock.
//!
//! `docs/protocol.md` is normative; `tests/golden.rs` holds the code to its tables and hexdumps.

#![deny(unsafe_code)] // only transport/fd.rs lifts this, block by block

pub mod codec;
pub mod control;
mod error;
mod frame;
mod header;
mod hello;
mod identity;
pub mod limits;
mod message;
mod name;
mod pattern;
mod routing;
pub mod transport;

pub use error::{ERROR_TABLE, ErrorCode, ErrorRow, MayHaveRun, Retry};
pub use frame::{Decoder, Frame, Incoming, Violation};
pub use header::{Encoding, Flags, Header, Kind};
pub use hello::{Features, Hello, Versions, Welcome};
pub use identity::Identity;
pub use message::{Call, Cancel, Failure, Goodbye, Message, Reply};
pub use name::{InvalidName, MethodName, PeerNumber, ServiceName, Target};
pub use pattern::Pattern;
pub use routing::{FieldTag, Routing, RoutingBuilder, RoutingError};
