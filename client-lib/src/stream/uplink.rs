//! The caller's items.

use std::{fmt, marker::PhantomData, os::fd::BorrowedFd, time::Instant};

use bytes::Bytes;
use ipc_protocol::{Encoding, ErrorCode};

use super::sending::Sending;
use crate::{error::Result, session::Payload, stream_method::StreamMethod};

/// Sends the items of a typed call. Dropped unfinished, it tells the service that the items aren't complete.
pub struct Uplink<M: StreamMethod> {
    half: Sending,
    items: PhantomData<fn(M::In)>,
}

impl<M: StreamMethod> Uplink<M> {
    pub(super) fn new(half: Sending) -> Self {
        Self { half, items: PhantomData }
    }

    /// Sends an item; waits until the service takes it.
    ///
    /// # Errors
    /// What the call has ended with; `cancelled` if the service has answered already. `usage` if the call has no such stream. `invalid` or
    /// `too_large` if the item can't be encoded.
    pub fn send(&mut self, item: &M::In) -> Result<()> {
        self.half.send_value(item)
    }

    /// Sends items that are all there, in order, with as few writes as possible: for short ones this is several times as fast as one
    /// [`send`](Self::send) each. Returns when all have left; waits until the service takes them.
    ///
    /// # Errors
    /// As [`Uplink::send`]. The items before the one that failed were sent.
    pub fn send_all(&mut self, items: &[M::In]) -> Result<()> {
        self.half.send_values(items)
    }

    /// There are no more items.
    pub fn finish(mut self) {
        self.half.finish();
    }

    /// There are no more items, although they aren't complete: the service is told why.
    pub fn fail(mut self, code: ErrorCode, text: &str) {
        self.half.fail(code, text);
    }

    pub(super) fn half(&mut self) -> &mut Sending {
        &mut self.half
    }
}

impl<M: StreamMethod> fmt::Debug for Uplink<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uplink({}.{})", M::SERVICE, M::METHOD)
    }
}

/// Sends the items of a call of bytes. As [`Uplink`] otherwise.
#[derive(Debug)]
pub struct UplinkBytes {
    half: Sending,
}

impl UplinkBytes {
    pub(super) fn new(half: Sending) -> Self {
        Self { half }
    }

    /// Sends an item of plain bytes; waits until the service takes it.
    ///
    /// # Errors
    /// As [`Uplink::send`].
    pub fn send(&mut self, item: impl Into<Bytes>) -> Result<()> {
        self.send_until(Encoding::BYTES, item, None, None)
    }

    /// Sends an item in an encoding; waits no longer than until a time, or until `interrupt` is readable.
    ///
    /// # Errors
    /// As [`Uplink::send`]; `deadline` or `cancelled` if the item was not sent in time.
    pub fn send_until(
        &mut self,
        encoding: Encoding,
        item: impl Into<Bytes>,
        until: Option<Instant>,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Result<()> {
        self.half.send(encoding, &Payload::Shared(item.into()), until, interrupt)
    }

    /// Sends items that are all there, in order, with as few writes as possible: for short ones this is several times as fast as one
    /// [`send`](Self::send) each. Returns when all have left; waits until the service takes them.
    ///
    /// # Errors
    /// As [`Uplink::send`]. The items before the one that failed were sent.
    pub fn send_all(&mut self, encoding: Encoding, items: &[Bytes]) -> Result<()> {
        self.half.send_all(encoding, items)
    }

    /// As [`send_all`](Self::send_all), with items of an iterator. It is asked for each when the one before is on its way, and so shows
    /// how far the service is.
    ///
    /// # Errors
    /// As [`Uplink::send`]. The items before the one that failed were sent.
    pub fn send_each(&mut self, encoding: Encoding, items: impl Iterator<Item = Bytes>) -> Result<()> {
        self.half.send_each(encoding, items)
    }

    /// There are no more items.
    pub fn finish(mut self) {
        self.half.finish();
    }

    /// There are no more items, although they aren't complete: the service is told why.
    pub fn fail(mut self, code: ErrorCode, text: &str) {
        self.half.fail(code, text);
    }

    pub(super) fn half(&mut self) -> &mut Sending {
        &mut self.half
    }
}
