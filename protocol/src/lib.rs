//! The wire of ipcd, shared by the broker and the client library.
//!
//! This crate owns what two processes must agree on: the frame header ([`Header`]), the routing section ([`Routing`]), the
//! message kinds ([`Message`]), names and targets, the error table ([`ErrorCode`]), the operations of the broker's own service
//! ([`control`]), the codec of typed bodies (`codec`, behind the feature of that name) and the socket transport ([`transport`]). It
//! knows no policy, and reads the clock only to keep a deadline that [`transport::poll`] is given.
//!
//! `docs/protocol.md` is normative; `tests/golden.rs` holds the code to its tables and hexdumps.

#![deny(unsafe_code)] // only transport/fd.rs lifts this, block by block

mod body;
#[cfg(feature = "codec")]
pub mod codec;
pub mod control;
pub mod json;
pub mod transport;
pub mod wire;

pub use body::{Body, NoFd};
pub use wire::{
    error::{ERROR_TABLE, ErrorCode, ErrorRow, MayHaveRun, Retry},
    event::Gap,
    fingerprint::Fingerprint,
    frame::{Decoder, Frame, Incoming, Violation},
    header::{Encoding, Flags, Header, Kind},
    hello::{Features, Hello, Versions, Welcome},
    identity::Identity,
    limits,
    message::{Cancel, Goodbye},
    name::{InvalidName, MethodName, PeerNumber, ServiceName, Target, Topic},
    pattern::Pattern,
    routing::{DESCRIBE, FieldTag, Routing, RoutingBuilder, RoutingError},
    stream::{Credit, End, Streams},
};

/// A message without descriptors: what clients send and receive.
pub type Message = wire::Message<NoFd>;
/// A request without descriptors.
pub type Call = wire::Call<NoFd>;
/// A successful end without descriptors.
pub type Reply = wire::Reply<NoFd>;
/// An unsuccessful end without descriptors.
pub type Failure = wire::Failure<NoFd>;
/// An event without descriptors.
pub type Event = wire::Event<NoFd>;
/// An item of a stream without descriptors.
pub type Element = wire::Element<NoFd>;
