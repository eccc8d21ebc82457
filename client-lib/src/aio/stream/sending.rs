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
use crate::{error::Result, link::tokio::Connection, session::outgoing::encode, stream::At};

/// Sends items, as the other side allows.
pub(in crate::aio) struct Sending {
    place: Arc<Place>,
    /// An item that the program has handed over, as a [`Sink`](futures_sink::Sink) takes it, and that isn't allowed yet.
    kept: Option<Kept>,
    is_finished: bool,
}

/// An item, in the encoding of the call and in that of its second attempt, if there may be one.
struct Kept {
    body: Bytes,
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
                Ok(body) => poll_fn(|context| poll_send(context, at, &body)).await,
                Err(error) => Err(error),
            };
            match sent {
                Err(error) if self.place.goes_on(at, &error) => {}
                sent => return sent,
            }
        }
    }

    /// Keeps an item, to be sent by [`Sending::poll_kept`], which has said that there is room.
    pub(super) fn keep<T: Serialize>(&mut self, item: &T) -> Result<()> {
        let json = self.place.may_go_on().then(|| encode(Encoding::JSON, item).ok()).flatten();
        self.kept = Some(Kept { body: encode(self.place.at().encoding, item)?, json });
        Ok(())
    }

    /// Sends the item that is kept.
    pub(super) fn poll_kept(&mut self, context: &Context<'_>) -> Poll<Result<()>> {
        while let Some(kept) = &mut self.kept {
            let at = self.place.at();
            match ready!(poll_send(context, at, &kept.body)) {
                Err(error) if kept.json.is_some() && self.place.goes_on(at, &error) => {
                    kept.body = kept.json.take().unwrap_or_default();
                }
                sent => {
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

fn poll_send(context: &Context<'_>, at: &At<Connection>, body: &[u8]) -> Poll<Result<()>> {
    at.connection.poll_send(context, at.id, (at.encoding, body), at.sign)
}

/// What was dropped before it was finished isn't complete.
impl Drop for Sending {
    fn drop(&mut self) {
        self.fail(ErrorCode::CANCELLED, "the sender went away before it had finished");
    }
}

/// What a half that sends is to the combinators of other crates.
macro_rules! sink {
    ($half:ident<$parameter:ident: $bound:path>, $item:ty) => {
        impl<$parameter: $bound> futures_sink::Sink<$item> for $half<$parameter> {
            type Error = crate::error::Error;

            fn poll_ready(
                mut self: std::pin::Pin<&mut Self>,
                context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<crate::error::Result<()>> {
                self.half.poll_kept(context)
            }

            fn start_send(mut self: std::pin::Pin<&mut Self>, item: $item) -> crate::error::Result<()> {
                self.half.keep(&item)
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
