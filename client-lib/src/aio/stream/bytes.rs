//! Calls with streams whose bodies are bytes, on both sides.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_core::Stream;
use ipc_protocol::{Encoding, ErrorCode, Streams};

use super::{
    receiving::Receiving,
    sending::{Sending, sink},
};
use crate::{
    aio::client::AsyncClient,
    error::Result,
    request::{Request, Response},
    session::{
        Outgoing,
        outgoing::{Answer, What, routing_of},
    },
    stream::At,
};

impl AsyncClient {
    /// Starts a call with streams and a request of bytes. Its timeout is one of silence, as for [`AsyncClient::stream`].
    ///
    /// # Errors
    /// As [`AsyncClient::stream`].
    pub async fn stream_bytes(&self, request: Request, streams: Streams) -> Result<AsyncStreamCallBytes> {
        let routing = routing_of(&request)?;
        let mut outgoing = Outgoing::of_request(&request, &routing, Answer::Wanted);
        outgoing.what = What::Stream(streams);
        let (connection, id) = self.calls().submit_call(&outgoing).await?.into_id();
        let first = At::started(connection, id, outgoing.encoding, outgoing.timeout_ms);
        let (sending, receiving) = super::opened(first, None, streams);
        Ok(AsyncStreamCallBytes {
            up: AsyncUplinkBytes { half: sending },
            down: AsyncDownlinkBytes { half: receiving },
        })
    }
}

/// A call of bytes with streams. As [`AsyncStreamCall`](crate::AsyncStreamCall) otherwise.
#[must_use = "dropping it cancels the call"]
#[derive(Debug)]
pub struct AsyncStreamCallBytes {
    up: AsyncUplinkBytes,
    down: AsyncDownlinkBytes,
}

impl AsyncStreamCallBytes {
    /// Sends an item of plain bytes; waits until the service takes it.
    ///
    /// # Errors
    /// As [`Uplink::send`](crate::Uplink::send).
    pub async fn send(&mut self, item: impl Into<Bytes>) -> Result<()> {
        self.up.send(item).await
    }

    /// Sends an item in an encoding; waits until the service takes it.
    ///
    /// # Errors
    /// As [`Uplink::send`](crate::Uplink::send).
    pub async fn send_encoded(&mut self, encoding: Encoding, item: impl Into<Bytes>) -> Result<()> {
        self.up.send_encoded(encoding, item).await
    }

    /// There are no more items of the caller. Those of the service may still come.
    pub fn finish(&mut self) {
        self.up.half.finish();
    }

    /// There are no more items, although they aren't complete: the service is told why.
    pub fn fail(&mut self, code: ErrorCode, text: &str) {
        self.up.half.fail(code, text);
    }

    /// Waits for the next item. `None` at their end; what the call ended with, if that has cut them short.
    pub async fn next(&mut self) -> Option<Result<Response>> {
        self.down.next().await
    }

    /// Finishes, drops the items that still come, and waits for the reply.
    ///
    /// # Errors
    /// What the call ended with.
    pub async fn end(mut self) -> Result<Response> {
        self.finish();
        self.down.end().await
    }

    /// Both directions, for a task each. The call is cancelled when both are dropped.
    #[must_use]
    pub fn split(self) -> (AsyncUplinkBytes, AsyncDownlinkBytes) {
        (self.up, self.down)
    }
}

impl Stream for AsyncStreamCallBytes {
    type Item = Result<Response>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.down.half.poll(context)
    }
}

/// Sends the items of a call of bytes. As [`AsyncUplink`](crate::AsyncUplink) otherwise.
#[derive(Debug)]
pub struct AsyncUplinkBytes {
    half: Sending,
}

impl AsyncUplinkBytes {
    /// Sends an item of plain bytes; waits until the service takes it. A future that is dropped before has not sent it.
    ///
    /// # Errors
    /// As [`Uplink::send`](crate::Uplink::send).
    pub async fn send(&mut self, item: impl Into<Bytes>) -> Result<()> {
        self.send_encoded(Encoding::BYTES, item).await
    }

    /// Sends an item in an encoding; waits until the service takes it. A future that is dropped before has not sent it.
    ///
    /// # Errors
    /// As [`Uplink::send`](crate::Uplink::send).
    pub async fn send_encoded(&mut self, encoding: Encoding, item: impl Into<Bytes>) -> Result<()> {
        self.half.send_encoded(encoding, &item.into()).await
    }

    /// There are no more items.
    pub fn finish(mut self) {
        self.half.finish();
    }

    /// There are no more items, although they aren't complete: the service is told why.
    pub fn fail(mut self, code: ErrorCode, text: &str) {
        self.half.fail(code, text);
    }
}

sink!([] AsyncUplinkBytes, Response, keep_response);

/// Receives the items of a call of bytes, and its end. As [`AsyncDownlink`](crate::AsyncDownlink) otherwise.
#[derive(Debug)]
pub struct AsyncDownlinkBytes {
    half: Receiving,
}

impl AsyncDownlinkBytes {
    /// Waits for the next item. `None` at their end.
    pub async fn next(&mut self) -> Option<Result<Response>> {
        poll_fn(|context| self.half.poll(context)).await
    }

    /// Drops the items that still come, and waits for the reply.
    ///
    /// # Errors
    /// What the call ended with.
    pub async fn end(self) -> Result<Response> {
        self.half.outcome().await
    }
}

impl Stream for AsyncDownlinkBytes {
    type Item = Result<Response>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.half.poll(context)
    }
}

/// The items of a caller as they came: async [`ItemsBytes`](crate::ItemsBytes).
#[derive(Debug)]
pub struct AsyncItemsBytes {
    half: Receiving,
}

impl AsyncItemsBytes {
    pub(in crate::aio) fn new(half: Receiving) -> Self {
        Self { half }
    }

    /// Waits for the next item; an error says why the items aren't complete. `None` at their end.
    pub async fn next(&mut self) -> Option<Result<Response>> {
        poll_fn(|context| self.half.poll(context)).await
    }
}

impl Stream for AsyncItemsBytes {
    type Item = Result<Response>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.half.poll(context)
    }
}

/// Sends items to a caller as they are: an async [`SinkBytes`](crate::SinkBytes).
#[derive(Debug)]
pub struct AsyncSinkBytes {
    half: Sending,
}

impl AsyncSinkBytes {
    pub(in crate::aio) fn new(half: Sending) -> Self {
        Self { half }
    }

    /// Sends an item in an encoding; waits until the caller takes it. A future that is dropped before has not sent it.
    ///
    /// # Errors
    /// As [`Sink::send`](crate::Sink::send).
    pub async fn send(&mut self, encoding: Encoding, item: impl Into<Bytes>) -> Result<()> {
        self.half.send_encoded(encoding, &item.into()).await
    }
}

sink!([] AsyncSinkBytes, Response, keep_response);
