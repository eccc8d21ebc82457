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
pub mod transport;
mod wire;

pub use wire::{
    error::{ERROR_TABLE, ErrorCode, ErrorRow, MayHaveRun, Retry},
    frame::{Decoder, Frame, Incoming, Violation},
    header::{Encoding, Flags, Header, Kind},
    hello::{Features, Hello, Versions, Welcome},
    identity::Identity,
    limits,
    message::{Call, Cancel, Failure, Goodbye, Message, Reply},
    name::{InvalidName, MethodName, PeerNumber, ServiceName, Target},
    pattern::Pattern,
    routing::{FieldTag, Routing, RoutingBuilder, RoutingError},
};
