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
    /// Whether the other side is allowed its first items once one is asked for.
    is_reserved: bool,
}

impl Receiving {
    pub(crate) fn new(place: Arc<Place>) -> Self {
        Self { place, has_ended: false, is_reserved: false }
    }

    /// Of a delivered call whose caller may send nothing before an item is asked for: its method may refuse it yet.
    pub(crate) fn reserved(place: Arc<Place>) -> Self {
        Self { place, has_ended: false, is_reserved: true }
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
        if std::mem::take(&mut self.is_reserved) {
            self.place.welcome_items();
        }
        loop {
            let at = self.place.at();
            match at.connection.next_item(at.id, at.patient(until, interrupt))? {
                None => return Ok(None),
                Some(Flowed::Item(item)) => return Ok(Some(Some(item))),
                Some(Flowed::End(Err(error))) if self.place.goes_on(at, &error) => {}
                Some(Flowed::End(end)) => {
                    self.has_ended = true;
                    return end.map(|()| Some(None));
                }
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
