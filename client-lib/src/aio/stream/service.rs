//! The streams of a call as an async service has them.

use std::{
    fmt,
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    receiving::Receiving,
    sending::{Sending, sink},
};
use crate::error::Result;

/// The items of a caller, as a stream: async [`Items`](crate::Items).
pub struct AsyncItems<T> {
    half: Receiving,
    items: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> AsyncItems<T> {
    pub(in crate::aio) fn new(half: Receiving) -> Self {
        Self { half, items: PhantomData }
    }

    /// Waits for the next item; an error says why the items aren't complete. `None` at their end.
    pub async fn next(&mut self) -> Option<Result<T>> {
        poll_fn(|context| self.half.poll_value(context)).await
    }
}

impl<T: DeserializeOwned> Stream for AsyncItems<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.half.poll_value(context)
    }
}

impl<T> fmt::Debug for AsyncItems<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncItems").finish_non_exhaustive()
    }
}

/// Sends items to a caller: an async [`Sink`](crate::Sink).
pub struct AsyncSink<T> {
    half: Sending,
    items: PhantomData<fn(T)>,
}

impl<T: Serialize> AsyncSink<T> {
    pub(in crate::aio) fn new(half: Sending) -> Self {
        Self { half, items: PhantomData }
    }

    /// Sends an item; waits until the caller takes it. A future that is dropped before has not sent it.
    ///
    /// # Errors
    /// What the call has ended with. `usage` if it has no such stream. `invalid` or `too_large` if the item can't be encoded.
    pub async fn send(&mut self, item: &T) -> Result<()> {
        self.half.send(item).await
    }
}

sink!([T: Serialize] AsyncSink<T>, T, keep);

impl<T> fmt::Debug for AsyncSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncSink").finish_non_exhaustive()
    }
}
