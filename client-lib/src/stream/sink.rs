//! The service's items, as it sends them.

use std::{fmt, marker::PhantomData, os::fd::BorrowedFd, time::Instant};

use bytes::Bytes;
use ipc_protocol::Encoding;
use serde::Serialize;

use super::sending::Sending;
use crate::{error::Result, session::Payload};

/// Sends items to a caller.
pub struct Sink<T> {
    half: Sending,
    items: PhantomData<fn(T)>,
}

impl<T> Sink<T> {
    pub(crate) fn new(half: Sending) -> Self {
        Self { half, items: PhantomData }
    }
}

impl<T: Serialize> Sink<T> {
    /// Sends an item; waits until the caller takes it.
    ///
    /// # Errors
    /// `cancelled` or `deadline` when the caller has stopped waiting or has gone, `broker_lost`; `usage` if it takes no items; `invalid` or
    /// `too_large` if the item can't be encoded.
    pub fn send(&mut self, item: &T) -> Result<()> {
        self.half.send_value(item)
    }

    /// Sends items that are all there, in order, with as few writes as possible: for short ones this is several times as fast as one
    /// [`send`](Self::send) each. Returns when all have left; waits until the caller takes them.
    ///
    /// # Errors
    /// As [`Sink::send`]. The items before the one that failed were sent.
    pub fn send_all(&mut self, items: &[T]) -> Result<()> {
        self.half.send_values(items)
    }
}

impl<T> fmt::Debug for Sink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sink").field(&self.half).finish()
    }
}

/// Sends items of bytes to a caller. As [`Sink`] otherwise.
#[derive(Debug)]
pub struct SinkBytes {
    half: Sending,
}

impl SinkBytes {
    pub(crate) fn new(half: Sending) -> Self {
        Self { half }
    }

    /// Sends an item in an encoding; waits until the caller takes it.
    ///
    /// # Errors
    /// As [`Sink::send`].
    pub fn send(&mut self, encoding: Encoding, item: impl Into<Bytes>) -> Result<()> {
        self.send_until(encoding, item, None, None)
    }

    /// As [`send`](Self::send); waits no longer than until a time, or until `interrupt` is readable.
    ///
    /// # Errors
    /// As [`Sink::send`]; `deadline` or `cancelled` if the item was not sent in time.
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
    /// [`send`](Self::send) each. Returns when all have left; waits until the caller takes them.
    ///
    /// # Errors
    /// As [`Sink::send`]. The items before the one that failed were sent.
    pub fn send_all(&mut self, encoding: Encoding, items: &[Bytes]) -> Result<()> {
        self.half.send_all(encoding, items)
    }
}
