//! The half of a stream that receives.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
};

use serde::de::DeserializeOwned;

use super::place::Place;
use crate::{
    error::Result,
    request::Response,
    session::{Flowed, Outcome},
    stream::read,
};

/// Receives items, and allows the other side new ones as they are taken.
#[derive(Debug)]
pub(in crate::aio) struct Receiving {
    place: Arc<Place>,
    /// Whether the end was told.
    has_ended: bool,
}

impl Receiving {
    pub(in crate::aio) fn new(place: Arc<Place>) -> Self {
        Self { place, has_ended: false }
    }

    /// The next item as it came, the error that the items end with, or their end.
    pub(super) fn poll(&mut self, context: &Context<'_>) -> Poll<Option<Result<Response>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        loop {
            let at = self.place.at();
            match ready!(at.connection.poll_item(context, at.id, at.sign)) {
                Flowed::Item(item) => return Poll::Ready(Some(Ok(item))),
                Flowed::End(Err(error)) if self.place.goes_on(at, &error) => {}
                Flowed::End(end) => {
                    self.has_ended = true;
                    return Poll::Ready(end.err().map(Err));
                }
            }
        }
    }

    /// The same of items that have a type.
    pub(super) fn poll_value<T: DeserializeOwned>(&mut self, context: &Context<'_>) -> Poll<Option<Result<T>>> {
        self.poll(context).map(|item| item.map(|item| read(&item?)))
    }

    /// Drops the items that still come, and waits for the end of the call.
    pub(super) async fn outcome(mut self) -> Outcome {
        while let Some(Ok(_)) = poll_fn(|context| self.poll(context)).await {}
        let at = self.place.at();
        poll_fn(|context| at.connection.poll_flow_end(context, at.id, at.sign)).await.map(Response::detached)
    }
}
