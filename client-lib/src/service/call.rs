//! What a method learns about the call it answers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ipc_protocol::{Encoding, Identity, PeerNumber};

use crate::{cancel::CancelToken, client::Client, link::blocking::Connection};

/// Who called: stamped by the broker, nothing in it comes from the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caller {
    /// User, groups and process of the caller, from the kernel.
    pub identity: Identity,
    /// The caller's own number, if it has a connection: a datagram's sender has none.
    pub peer: Option<PeerNumber>,
}

/// The stamp of the last caller: most calls have the same as the one before, and reading a stamp allocates.
#[derive(Debug, Default)]
pub(crate) struct Stamp(Bytes);

impl Stamp {
    /// Reads who calls, if it isn't the same as before; false if this is no stamp.
    pub(crate) fn recognise(&mut self, stamp: &Bytes, caller: &mut Arc<Caller>) -> bool {
        if self.0 == *stamp && !stamp.is_empty() {
            return true;
        }
        let Ok((identity, peer)) = Identity::from_stamp(stamp) else { return false };
        *caller = Arc::new(Caller { identity, peer });
        self.0 = Bytes::copy_from_slice(stamp); // the buffer that it was read into isn't kept for it
        true
    }
}

/// A call as it came, for a service that takes any method.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Incoming {
    /// The name that was called.
    pub service: String,
    /// The method; empty for the default method.
    pub method: String,
    /// How the body is encoded.
    pub encoding: Encoding,
    /// The body.
    pub body: Bytes,
    /// Whether the caller waits for no reply. What the method returns is then discarded.
    pub one_way: bool,
    /// W3C trace context (`traceparent`), as the caller sent it.
    pub trace: Option<String>,
}

/// A running call: its caller, its deadline, its cancellation, and a client for calls of its own.
#[derive(Debug)]
pub struct Context {
    pub(crate) caller: Arc<Caller>,
    pub(crate) deadline: Instant,
    pub(crate) cancel: CancelToken,
    pub(crate) client: Client,
    /// Where the call came from.
    pub(crate) connection: Arc<Connection>,
}

impl Context {
    /// Who called.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// When the caller stops waiting. A call with streams has as much time again after each item of either side.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How long the caller will go on waiting; zero when the deadline has passed.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Tells when the caller stops waiting.
    #[must_use]
    pub fn cancel(&self) -> &CancelToken {
        &self.cancel
    }

    /// A client on the service's own connection, for nested calls. A call through it, or through a clone of it, is one on behalf of
    /// this call: it has no more time than this call has left, and it ends when the caller cancels and when the method returns.
    /// [`Client::unbound`] gives a client whose calls live longer.
    ///
    /// The service's reading thread never waits for a method, so a nested call cannot dead-lock on the connection. A call to a pooled
    /// method of this same service needs a free thread of the pool: with all of them waiting for such calls, each ends at its
    /// deadline.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }
}
