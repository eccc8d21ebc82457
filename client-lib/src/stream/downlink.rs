//! The service's items, and its reply behind them.

use std::{
    fmt,
    marker::PhantomData,
    os::fd::BorrowedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use ipc_protocol::{ErrorCode, Routing};

use super::receiving::{Receiving, read};
use crate::{
    error::{CallError, Error, Result},
    line::Line,
    request::Response,
    session::{outgoing::decode_reply, typed::said_no},
    stream_method::StreamMethod,
};

/// Receives the items of a typed call, as an iterator, and its end.
///
/// An iteration that the end of the call has cut short yields the error once; [`Downlink::end`] has it, too.
pub struct Downlink<M: StreamMethod> {
    half: Receiving,
    line: Arc<Line>,
    /// Names the service.
    routing: Routing,
    items: PhantomData<fn() -> M::Out>,
}

impl<M: StreamMethod> Downlink<M> {
    pub(super) fn new(half: Receiving, line: Arc<Line>, routing: Routing) -> Self {
        Self { half, line, routing, items: PhantomData }
    }

    /// Drops the items that still come, and waits for the reply.
    ///
    /// # Errors
    /// What the call ended with.
    pub fn end(self) -> Result<M::Reply, CallError<M::Error>> {
        match self.half.outcome() {
            Ok(response) => Ok(decode_reply(M::SERVICE, M::METHOD, &response)?),
            Err(error) => {
                learn_encoding(&self.line, &self.routing, &error);
                Err(said_no(error))
            }
        }
    }
}

/// A service says that it doesn't take the encoding although items have gone along with the call, so it can't be made again here. The
/// program's own next one is in JSON.
fn learn_encoding(line: &Line, routing: &Routing, error: &Error) {
    if error.code() == ErrorCode::UNSUPPORTED_ENCODING {
        line.routes(|routes| routes.prefer_json(routing.service()));
    }
}

impl<M: StreamMethod> Iterator for Downlink<M> {
    type Item = Result<M::Out>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.half.next()?.inspect_err(|error| learn_encoding(&self.line, &self.routing, error));
        Some(item.and_then(|item| read(&item)))
    }
}

impl<M: StreamMethod> fmt::Debug for Downlink<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Downlink({}.{})", M::SERVICE, M::METHOD)
    }
}

/// Receives the items of a call of bytes, and its end. As [`Downlink`] otherwise.
#[derive(Debug)]
pub struct DownlinkBytes {
    half: Receiving,
}

impl DownlinkBytes {
    pub(super) fn new(half: Receiving) -> Self {
        Self { half }
    }

    /// Waits for the next item, but no longer than `timeout`: `None` if there was none, `Some(None)` at the end of the items.
    ///
    /// # Errors
    /// What the call ended with.
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<Option<Response>>> {
        self.next_until(Instant::now().checked_add(timeout), None)
    }

    /// Waits for the next item until a time, or until `interrupt` is readable. As [`DownlinkBytes::next_within`] otherwise.
    ///
    /// # Errors
    /// What the call ended with; `cancelled` after an interrupt, which the call survives.
    pub fn next_until(
        &mut self,
        until: Option<Instant>,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Result<Option<Option<Response>>> {
        self.half.next_until(until, interrupt)
    }

    /// Drops the items that still come, and waits for the reply until a time: `None` if it has not come by then. The reply is told
    /// once.
    ///
    /// # Errors
    /// What the call ended with.
    pub fn end_until(&mut self, until: Option<Instant>) -> Option<Result<Response>> {
        self.half.outcome_until(until)
    }

    /// Drops the items that still come, and waits for the reply.
    ///
    /// # Errors
    /// What the call ended with.
    pub fn end(self) -> Result<Response> {
        self.half.outcome()
    }
}

impl Iterator for DownlinkBytes {
    type Item = Result<Response>;

    fn next(&mut self) -> Option<Self::Item> {
        self.half.next()
    }
}
