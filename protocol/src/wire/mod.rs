//! What lies on the wire: header, routing section, the kinds of message, and the names, identities and errors in them.
//!
//! Bytes in, values out and back: nothing here reads a socket, a clock or a policy.

pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod fingerprint;
pub(crate) mod frame;
pub(crate) mod header;
pub(crate) mod hello;
pub(crate) mod identity;
pub(crate) mod lengths;
pub mod limits;
pub(crate) mod message;
pub(crate) mod name;
pub(crate) mod pattern;
pub(crate) mod routing;
pub(crate) mod stream;

pub use event::Event;
pub use message::{Call, Failure, Message, Reply};
pub use stream::Element;
