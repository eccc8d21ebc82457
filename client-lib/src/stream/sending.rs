//! The half of a stream that sends.

use std::{os::fd::BorrowedFd, sync::Arc, time::Instant};

use bytes::Bytes;
use ipc_protocol::{Encoding, ErrorCode};
use serde::Serialize;

use super::place::Place;
use crate::{
    error::Result,
    link::blocking::Connection,
    scratch::with_body,
    session::{Payload, Serial},
};

/// Sends items, as the other side allows.
#[derive(Debug)]
pub(crate) struct Sending {
    place: Arc<Place>,
    encoding: Encoding,
    is_finished: bool,
}

impl Sending {
    pub(crate) fn new(place: Arc<Place>, encoding: Encoding) -> Self {
        Self { place, encoding, is_finished: false }
    }

    /// Sends an item that is encoded already.
    pub(super) fn send(
        &self,
        encoding: Encoding,
        body: &Payload<'_>,
        until: Option<Instant>,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Result<()> {
        let Place { connection, id, .. } = &*self.place;
        connection.send_item(*id, encoding, body, self.place.patient(until, interrupt))
    }

    /// Sends an item in the encoding of the call.
    pub(super) fn send_value<T: Serialize>(&self, item: &T) -> Result<()> {
        with_body(self.encoding, item, |body| self.send(self.encoding, &body, None, None))
    }

    /// Sends items that are encoded already, with as few writes as possible.
    pub(super) fn send_all(&self, encoding: Encoding, items: &[Bytes]) -> Result<()> {
        self.send_each(encoding, items.iter().cloned())
    }

    /// Sends items as they are asked for, with as few writes as possible.
    pub(super) fn send_each(&self, encoding: Encoding, items: impl Iterator<Item = Bytes>) -> Result<()> {
        self.gathered(items, |connection, id, item| {
            let patient = self.place.patient(None, None);
            connection.gather_item(id, encoding, &Payload::Shared(item), patient)
        })
    }

    /// Sends items in the encoding of the call, with as few writes as possible.
    pub(super) fn send_values<T: Serialize>(&self, items: &[T]) -> Result<()> {
        self.gathered(items.iter(), |connection, id, item| {
            let patient = self.place.patient(None, None);
            with_body(self.encoding, item, |body| connection.gather_item(id, self.encoding, &body, patient))
        })
    }

    /// What has gathered leaves in any case: also before an item that can't be sent.
    fn gathered<T>(
        &self,
        mut items: impl Iterator<Item = T>,
        gather: impl Fn(&Connection, Serial, T) -> Result<()>,
    ) -> Result<()> {
        let Place { connection, id, .. } = &*self.place;
        let gathered = items.try_for_each(|item| gather(connection, *id, item));
        connection.send_gathered(None);
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
