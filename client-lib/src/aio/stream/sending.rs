//! The half of a stream that sends.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
};

use ipc_protocol::{Encoding, ErrorCode};
use serde::Serialize;

use super::place::Place;
use crate::{error::Result, request::Response, session::outgoing::encode};

/// Sends items, as the other side allows.
#[derive(Debug)]
pub(in crate::aio) struct Sending {
    place: Arc<Place>,
    encoding: Encoding,
    /// An item that the program has handed over, as a [`Sink`](futures_sink::Sink) takes it, and that isn't allowed yet.
    kept: Option<Response>,
    is_finished: bool,
}

impl Sending {
    pub(in crate::aio) fn new(place: Arc<Place>, encoding: Encoding) -> Self {
        Self { place, encoding, kept: None, is_finished: false }
    }

    /// Sends an item, once the other side allows it.
    pub(super) async fn send<T: Serialize>(&mut self, item: &T) -> Result<()> {
        self.send_encoded(self.encoding, &encode(self.encoding, item)?).await
    }

    /// Sends an item that is encoded, once the other side allows it.
    pub(super) async fn send_encoded(&mut self, encoding: Encoding, body: &[u8]) -> Result<()> {
        poll_fn(|context| self.poll_kept(context)).await?;
        poll_fn(|context| self.poll_send(context, encoding, body)).await
    }

    /// Keeps an item, to be sent by [`Sending::poll_kept`], which has said that there is room.
    pub(super) fn keep<T: Serialize>(&mut self, item: T) -> Result<()> {
        self.keep_response(Response { encoding: self.encoding, body: encode(self.encoding, &item)? })
    }

    /// Keeps an item that is encoded.
    pub(super) fn keep_response(&mut self, item: Response) -> Result<()> {
        self.kept = Some(item);
        Ok(())
    }

    /// Sends the item that is kept.
    pub(super) fn poll_kept(&mut self, context: &Context<'_>) -> Poll<Result<()>> {
        if let Some(Response { encoding, body }) = self.kept.clone() {
            let sent = ready!(self.poll_send(context, encoding, &body));
            self.kept = None;
            sent?;
        }
        Poll::Ready(Ok(()))
    }

    /// There are no more items.
    pub(super) fn finish(&mut self) {
        self.end(None);
    }

    /// There are no more items, although they aren't complete.
    pub(super) fn fail(&mut self, code: ErrorCode, text: &str) {
        self.end(Some((code, text)));
    }

    fn poll_send(&self, context: &Context<'_>, encoding: Encoding, body: &[u8]) -> Poll<Result<()>> {
        let Place { connection, id, sign, .. } = &*self.place;
        connection.poll_send(context, *id, (encoding, body), *sign)
    }

    fn end(&mut self, error: Option<(ErrorCode, &str)>) {
        if !std::mem::replace(&mut self.is_finished, true) {
            self.place.connection.finish_items(self.place.id, error);
        }
    }
}

/// What was dropped before it was finished isn't complete.
impl Drop for Sending {
    fn drop(&mut self) {
        self.fail(ErrorCode::CANCELLED, "the sender went away before it had finished");
    }
}

/// What a half that sends is to the combinators of other crates.
macro_rules! sink {
    ([$($parameter:tt)*] $half:ty, $item:ty, $keep:ident) => {
        impl<$($parameter)*> futures_sink::Sink<$item> for $half {
            type Error = crate::error::Error;

            fn poll_ready(
                mut self: std::pin::Pin<&mut Self>,
                context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<crate::error::Result<()>> {
                self.half.poll_kept(context)
            }

            fn start_send(mut self: std::pin::Pin<&mut Self>, item: $item) -> crate::error::Result<()> {
                self.half.$keep(item)
            }

            fn poll_flush(
                mut self: std::pin::Pin<&mut Self>,
                context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<crate::error::Result<()>> {
                self.half.poll_kept(context)
            }

            fn poll_close(
                mut self: std::pin::Pin<&mut Self>,
                context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<crate::error::Result<()>> {
                std::task::ready!(self.half.poll_kept(context))?;
                self.half.finish();
                std::task::Poll::Ready(Ok(()))
            }
        }
    };
}
pub(super) use sink;
