//! The half of a stream that receives.

use std::{os::fd::BorrowedFd, sync::Arc, time::Instant};

use ipc_protocol::{ErrorCode, Retry, codec};
use serde::de::DeserializeOwned;

use super::place::Place;
use crate::{
    error::{Error, Result},
    request::Response,
    session::{Flowed, Outcome},
};

/// Receives items, and allows the other side new ones as they are taken.
#[derive(Debug)]
pub(crate) struct Receiving {
    place: Arc<Place>,
    /// Whether the end was told.
    has_ended: bool,
}

impl Receiving {
    pub(crate) fn new(place: Arc<Place>) -> Self {
        Self { place, has_ended: false }
    }

    /// Waits for the next item. `Some(None)` is the end, `None` that the time has come.
    pub(super) fn next_until(
        &mut self,
        until: Option<Instant>,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Result<Option<Option<Response>>> {
        if self.has_ended {
            return Ok(Some(None));
        }
        let Place { connection, id, .. } = &*self.place;
        match connection.next_item(*id, self.place.patient(until, interrupt))? {
            None => Ok(None),
            Some(Flowed::Item(item)) => Ok(Some(Some(item))),
            Some(Flowed::End(end)) => {
                self.has_ended = true;
                end.map(|()| Some(None))
            }
        }
    }

    /// The next item of an iterator.
    pub(super) fn next(&mut self) -> Option<Result<Response>> {
        loop {
            match self.next_until(None, None) {
                Ok(Some(item)) => return item.map(Ok),
                Ok(None) => {} // after some weeks without an item
                Err(error) => {
                    self.has_ended = true;
                    return Some(Err(error));
                }
            }
        }
    }

    /// Drops the items that still come, and waits for the end of the call.
    pub(super) fn outcome(mut self) -> Outcome {
        while let Some(Ok(_)) = self.next() {}
        self.place.outcome().map(Response::detached)
    }

    /// As [`Receiving::outcome`], but waits no longer than until a time: `None` then. Tells the outcome once.
    pub(super) fn outcome_until(&mut self, until: Option<Instant>) -> Option<Outcome> {
        while !self.has_ended {
            match self.next_until(until, None) {
                Ok(None) if until.is_some_and(|until| Instant::now() >= until) => return None,
                Ok(_) => {}
                Err(_) => self.has_ended = true,
            }
        }
        self.place.outcome_until(until).map(|outcome| outcome.map(Response::detached))
    }
}

/// Reads an item.
///
/// # Errors
/// `invalid` with a text that names the field, `unsupported_encoding`.
pub(crate) fn read<T: DeserializeOwned>(item: &Response) -> Result<T> {
    codec::decode(item.encoding, &item.body).map_err(|error| {
        let code = match error {
            codec::CodecError::UnknownEncoding(_) => ErrorCode::UNSUPPORTED_ENCODING,
            _ => ErrorCode::INVALID,
        };
        Error::new(code, format!("an item is not what this program expects: {error}")).with_retry(Retry::Unknown)
    })
}
