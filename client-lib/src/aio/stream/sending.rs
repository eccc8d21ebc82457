//! The half of a stream that sends.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use ipc_protocol::{Encoding, ErrorCode};
use serde::Serialize;

use super::place::Place;
use crate::{error::Result, link::tokio::Connection, request::Response, session::outgoing::encode, stream::At};

/// Sends items, as the other side allows.
#[derive(Debug)]
pub(in crate::aio) struct Sending {
    place: Arc<Place>,
    /// An item that the program has handed over, as a [`Sink`](futures_sink::Sink) takes it, and that isn't allowed yet.
    kept: Option<Kept>,
    is_finished: bool,
}

/// An item, and the same in the encoding of the call's second attempt, if there may be one.
#[derive(Debug)]
struct Kept {
    item: Response,
    json: Option<Bytes>,
}

impl Sending {
    pub(in crate::aio) fn new(place: Arc<Place>) -> Self {
        Self { place, kept: None, is_finished: false }
    }

    /// Sends an item, once the other side allows it.
    pub(super) async fn send<T: Serialize>(&mut self, item: &T) -> Result<()> {
        poll_fn(|context| self.poll_kept(context)).await?;
        loop {
            let at = self.place.at();
            let sent = match encode(at.encoding, item) {
                Ok(body) => poll_fn(|context| poll_send(context, at, at.encoding, &body)).await,
                Err(error) => Err(error),
            };
            match sent {
                Err(error) if self.place.goes_on(at, &error) => {}
                sent => return sent,
            }
        }
    }

    /// Sends an item that is encoded, once the other side allows it.
    pub(super) async fn send_encoded(&mut self, encoding: Encoding, body: &[u8]) -> Result<()> {
        poll_fn(|context| self.poll_kept(context)).await?;
        poll_fn(|context| poll_send(context, self.place.at(), encoding, body)).await
    }

    /// Keeps an item, to be sent by [`Sending::poll_kept`], which has said that there is room.
    pub(super) fn keep<T: Serialize>(&mut self, item: T) -> Result<()> {
        let json = self.place.may_go_on().then(|| encode(Encoding::JSON, &item).ok()).flatten();
        let encoding = self.place.at().encoding;
        self.kept = Some(Kept { item: Response { encoding, body: encode(encoding, &item)? }, json });
        Ok(())
    }

    /// Keeps an item that is encoded.
    pub(super) fn keep_response(&mut self, item: Response) -> Result<()> {
        self.kept = Some(Kept { item, json: None });
        Ok(())
    }

    /// Sends the item that is kept.
    pub(super) fn poll_kept(&mut self, context: &Context<'_>) -> Poll<Result<()>> {
        while let Some(Kept { item, json }) = &mut self.kept {
            let at = self.place.at();
            match (ready!(poll_send(context, at, item.encoding, &item.body)), json.take()) {
                (Err(error), Some(body)) if self.place.goes_on(at, &error) => {
                    *item = Response { encoding: Encoding::JSON, body };
                }
                (sent, _) => {
                    self.kept = None;
                    sent?;
                }
            }
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

    fn end(&mut self, error: Option<(ErrorCode, &str)>) {
        if !std::mem::replace(&mut self.is_finished, true) {
            self.place.finish(error);
        }
    }
}

fn poll_send(context: &Context<'_>, at: &At<Connection>, encoding: Encoding, body: &[u8]) -> Poll<Result<()>> {
    at.connection.poll_send(context, at.id, (encoding, body), at.sign)
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
