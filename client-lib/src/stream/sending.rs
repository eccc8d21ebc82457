//! The half of a stream that sends.

use std::{os::fd::BorrowedFd, sync::Arc, time::Instant};

use bytes::Bytes;
use ipc_protocol::{Encoding, ErrorCode};
use serde::Serialize;

use super::{course::At, place::Place};
use crate::{error::Result, link::blocking::Connection, scratch::with_body, session::Payload};

/// Sends items, as the other side allows.
#[derive(Debug)]
pub(crate) struct Sending {
    place: Arc<Place>,
    is_finished: bool,
}

impl Sending {
    pub(crate) fn new(place: Arc<Place>) -> Self {
        Self { place, is_finished: false }
    }

    /// Sends an item that is encoded already.
    pub(super) fn send(
        &self,
        encoding: Encoding,
        body: &Payload<'_>,
        until: Option<Instant>,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Result<()> {
        let at = self.place.at();
        at.connection.send_item(at.id, encoding, body, at.patient(until, interrupt))
    }

    /// Sends an item in the encoding of the call.
    pub(super) fn send_value<T: Serialize>(&self, item: &T) -> Result<()> {
        self.encoded(item, |at, body| at.connection.send_item(at.id, at.encoding, body, at.patient(None, None)))
    }

    /// Sends items that are encoded already, with as few writes as possible.
    pub(super) fn send_all(&self, encoding: Encoding, items: &[Bytes]) -> Result<()> {
        self.send_each(encoding, items.iter().cloned())
    }

    /// Sends items as they are asked for, with as few writes as possible.
    pub(super) fn send_each(&self, encoding: Encoding, items: impl Iterator<Item = Bytes>) -> Result<()> {
        self.gathered(items, |item| {
            let at = self.place.at();
            at.connection.gather_item(at.id, encoding, &Payload::Shared(item), at.patient(None, None))
        })
    }

    /// Sends items in the encoding of the call, with as few writes as possible.
    pub(super) fn send_values<T: Serialize>(&self, items: &[T]) -> Result<()> {
        self.gathered(items.iter(), |item| {
            self.encoded(item, |at, body| at.connection.gather_item(at.id, at.encoding, body, at.patient(None, None)))
        })
    }

    /// Sends an item in the encoding of the call; in that of its second attempt, if there comes to be one before the item is sent.
    fn encoded<T: Serialize>(
        &self,
        item: &T,
        send: impl Fn(&At<Connection>, &Payload<'_>) -> Result<()>,
    ) -> Result<()> {
        loop {
            let at = self.place.at();
            match with_body(at.encoding, item, |body| send(at, &body)) {
                Err(error) if self.place.goes_on(at, &error) => {}
                sent => return sent,
            }
        }
    }

    /// What has gathered leaves in any case: also before an item that can't be sent.
    fn gathered<T>(&self, mut items: impl Iterator<Item = T>, gather: impl Fn(T) -> Result<()>) -> Result<()> {
        let gathered = items.try_for_each(gather);
        self.place.at().connection.send_gathered(None);
        gathered
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

/// What was dropped before it was finished isn't complete.
impl Drop for Sending {
    fn drop(&mut self) {
        self.fail(ErrorCode::CANCELLED, "the sender went away before it had finished");
    }
}
