//! A call with streams that is under way.

use std::{
    fmt,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ipc_protocol::{Encoding, ErrorCode};

use super::{
    downlink::{Downlink, DownlinkBytes},
    uplink::{Uplink, UplinkBytes},
};
use crate::{
    error::{CallError, Result},
    request::Response,
    stream_method::StreamMethod,
};

/// A typed call with streams: an iterator over the items of the service. Dropping it cancels the call.
///
/// Sending waits until the service takes the item, so who sends much and receives much does both at once: on two threads, with
/// [`split`](StreamCall::split).
#[must_use = "dropping it cancels the call"]
pub struct StreamCall<M: StreamMethod> {
    up: Uplink<M>,
    down: Downlink<M>,
}

impl<M: StreamMethod> StreamCall<M> {
    pub(super) fn new(up: Uplink<M>, down: Downlink<M>) -> Self {
        Self { up, down }
    }

    /// Sends an item; waits until the service takes it.
    ///
    /// # Errors
    /// As [`Uplink::send`].
    pub fn send(&mut self, item: &M::In) -> Result<()> {
        self.up.send(item)
    }

    /// Sends items that are all there, in order, with as few writes as possible: for short ones this is several times as fast as one
    /// [`send`](Self::send) each. Returns when all have left; waits until the service takes them.
    ///
    /// # Errors
    /// As [`Uplink::send`]. The items before the one that failed were sent.
    pub fn send_all(&mut self, items: &[M::In]) -> Result<()> {
        self.up.send_all(items)
    }

    /// There are no more items of the caller. Those of the service may still come.
    pub fn finish(&mut self) {
        self.up.half().finish();
    }

    /// There are no more items, although they aren't complete: the service is told why.
    pub fn fail(&mut self, code: ErrorCode, text: &str) {
        self.up.half().fail(code, text);
    }

    /// Finishes, drops the items that still come, and waits for the reply.
    ///
    /// # Errors
    /// What the call ended with.
    pub fn end(mut self) -> Result<M::Reply, CallError<M::Error>> {
        self.finish();
        self.down.end()
    }

    /// Both directions, for a thread each. The call is cancelled when both are dropped.
    #[must_use]
    pub fn split(self) -> (Uplink<M>, Downlink<M>) {
        (self.up, self.down)
    }
}

impl<M: StreamMethod> Iterator for StreamCall<M> {
    type Item = Result<M::Out>;

    fn next(&mut self) -> Option<Self::Item> {
        self.down.next()
    }
}

impl<M: StreamMethod> fmt::Debug for StreamCall<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamCall({}.{})", M::SERVICE, M::METHOD)
    }
}

/// A call of bytes with streams. As [`StreamCall`] otherwise.
#[must_use = "dropping it cancels the call"]
#[derive(Debug)]
pub struct StreamCallBytes {
    up: UplinkBytes,
    down: DownlinkBytes,
}

impl StreamCallBytes {
    pub(super) fn new(up: UplinkBytes, down: DownlinkBytes) -> Self {
        Self { up, down }
    }

    /// Sends an item of plain bytes; waits until the service takes it.
    ///
    /// # Errors
    /// As [`Uplink::send`].
    pub fn send(&mut self, item: impl Into<Bytes>) -> Result<()> {
        self.up.send(item)
    }

    /// Sends an item in an encoding, until a time or an interrupt.
    ///
    /// # Errors
    /// As [`UplinkBytes::send_until`].
    pub fn send_until(
        &mut self,
        encoding: Encoding,
        item: impl Into<Bytes>,
        until: Option<Instant>,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Result<()> {
        self.up.send_until(encoding, item, until, interrupt)
    }

    /// Sends items that are all there, in order, with as few writes as possible: for short ones this is several times as fast as one
    /// [`send`](Self::send) each. Returns when all have left; waits until the service takes them.
    ///
    /// # Errors
    /// As [`Uplink::send`]. The items before the one that failed were sent.
    pub fn send_all(&mut self, encoding: Encoding, items: &[Bytes]) -> Result<()> {
        self.up.send_all(encoding, items)
    }

    /// There are no more items of the caller. Those of the service may still come.
    pub fn finish(&mut self) {
        self.up.half().finish();
    }

    /// There are no more items, although they aren't complete: the service is told why.
    pub fn fail(&mut self, code: ErrorCode, text: &str) {
        self.up.half().fail(code, text);
    }

    /// Waits for the next item, but no longer than `timeout`.
    ///
    /// # Errors
    /// As [`DownlinkBytes::next_within`].
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<Option<Response>>> {
        self.down.next_within(timeout)
    }

    /// Waits for the next item until a time, or until `interrupt` is readable.
    ///
    /// # Errors
    /// As [`DownlinkBytes::next_until`].
    pub fn next_until(
        &mut self,
        until: Option<Instant>,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Result<Option<Option<Response>>> {
        self.down.next_until(until, interrupt)
    }

    /// Finishes, drops the items that still come, and waits for the reply.
    ///
    /// # Errors
    /// What the call ended with.
    pub fn end(mut self) -> Result<Response> {
        self.finish();
        self.down.end()
    }

    /// Both directions, for a thread each. The call is cancelled when both are dropped.
    #[must_use]
    pub fn split(self) -> (UplinkBytes, DownlinkBytes) {
        (self.up, self.down)
    }
}

impl Iterator for StreamCallBytes {
    type Item = Result<Response>;

    fn next(&mut self) -> Option<Self::Item> {
        self.down.next()
    }
}
