//! What moves the bytes of a session: where the broker is ([`dial`]), and one way to read and write for each kind of program.
//!
//! [`blocking`] needs no runtime and no thread, `tokio` is for futures. A link for another runtime or for tests is a module beside them:
//! everything that the protocol asks for is in [`session`](crate::session), a link reads, writes and wakes. [`channel`] has no socket: what
//! [`blocking`] reads and writes is a [`wire`], which is either.

pub(crate) mod backoff;
pub(crate) mod blocking;
pub(crate) mod channel;
pub(crate) mod dial;
mod locked;
pub(crate) mod readiness;
mod socket;
#[cfg(feature = "tokio")]
pub(crate) mod tokio;
mod wire;
