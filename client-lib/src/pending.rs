//! Calls that are under way. Dropping one cancels it.

use std::{
    fmt,
    marker::PhantomData,
    ops::ControlFlow,
    os::fd::BorrowedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use ipc_protocol::{Call, Encoding, ErrorCode, codec};

use crate::{
    client::Client,
    error::{CallError, Error, Result},
    link::blocking::Connection,
    method::Method,
    request::Response,
    session::outgoing::decode_reply,
    session::{CallId, Outcome},
};

/// A typed call that is under way. Dropping it cancels the call.
#[must_use = "dropping it cancels the call"]
pub struct Pending<M: Method> {
    client: Client,
    ticket: Ticket,
    /// What was sent, for a service that does not take its encoding.
    call: Call,
    method: PhantomData<fn() -> M>,
}

impl<M: Method> Pending<M> {
    pub(crate) fn new(client: Client, ticket: Ticket, call: Call) -> Self {
        Self { client, ticket, call, method: PhantomData }
    }

    /// Waits for the reply.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn wait(self) -> Result<M::Reply, CallError<M::Error>> {
        let Self { client, ticket, call, .. } = self;
        let until = ticket.until;
        let mut outcome = ticket.wait(None);
        if let Err(refusal) = &outcome
            && refusal.code() == ErrorCode::UNSUPPORTED_ENCODING
            && call.encoding == Encoding::BINCODE
        {
            outcome = client.resend_as_json::<M>(call, until)?.wait(None);
        }
        match outcome {
            Ok(response) => Ok(decode_reply(M::SERVICE, M::METHOD, &response)?),
            Err(error) => Err(said_no::<M>(error)),
        }
    }

    /// Cancels the call: whoever works on it is told, nobody waits. The same as dropping it.
    pub fn cancel(self) {}
}

impl<M: Method> fmt::Debug for Pending<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pending({}.{})", M::SERVICE, M::METHOD)
    }
}

/// A call of bytes that is under way. Dropping it cancels the call.
#[must_use = "dropping it cancels the call"]
#[derive(Debug)]
pub struct PendingBytes {
    ticket: Ticket,
}

impl PendingBytes {
    pub(crate) fn new(ticket: Ticket) -> Self {
        Self { ticket }
    }

    /// Waits for the reply.
    ///
    /// # Errors
    /// What the call ended with.
    pub fn wait(self) -> Result<Response> {
        self.ticket.wait(None).map(Response::detached)
    }

    /// Waits for the reply, or until `interrupt` is readable, for example a signalfd: the call is cancelled then.
    ///
    /// # Errors
    /// What the call ended with; `cancelled` after an interrupt.
    pub fn wait_or_interrupt(self, interrupt: BorrowedFd<'_>) -> Result<Response> {
        self.ticket.wait(Some(interrupt)).map(Response::detached)
    }

    /// Waits for the reply, but for no longer than `patience`: breaks with what the call ended with, or continues with the call, which
    /// is still under way.
    pub fn wait_for(mut self, patience: Duration) -> ControlFlow<Result<Response>, Self> {
        match self.ticket.wait_for(patience) {
            Some(outcome) => ControlFlow::Break(outcome.map(Response::detached)),
            None => ControlFlow::Continue(self),
        }
    }

    /// Cancels the call: whoever works on it is told, nobody waits. The same as dropping it.
    pub fn cancel(self) {}
}

/// A place in the table of a connection. Dropping it gives the call up.
#[derive(Debug)]
pub(crate) struct Ticket {
    connection: Arc<Connection>,
    id: CallId,
    until: Instant,
    open: bool,
}

impl Ticket {
    pub(crate) fn new(connection: Arc<Connection>, id: CallId, until: Instant) -> Self {
        Self { connection, id, until, open: true }
    }

    /// Waits for the end of the call, for a while.
    fn wait_for(&mut self, patience: Duration) -> Option<Outcome> {
        let now = Instant::now();
        let until = now.checked_add(patience).map_or(self.until, |until| until.min(self.until));
        let outcome = self.connection.wait_until(self.id, until)?;
        self.open = false;
        Some(outcome)
    }

    /// Waits for the end of the call.
    pub(crate) fn wait(mut self, interrupt: Option<BorrowedFd<'_>>) -> Outcome {
        self.open = false;
        self.connection.wait(self.id, self.until, interrupt)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            self.connection.abandon(self.id);
        }
    }
}

/// An `app_error` that carries a value of the application's type is that value. A service in another language may send a text
/// alone: bytes that are empty or no such value.
fn said_no<M: Method>(error: Error) -> CallError<M::Error> {
    let value = error.body();
    if error.code() != ErrorCode::APP_ERROR || (value.encoding == Encoding::BYTES && value.body.is_empty()) {
        return CallError::Failed(error);
    }
    match codec::decode(value.encoding, &value.body) {
        Ok(value) => CallError::App(value),
        Err(_) => CallError::Failed(error),
    }
}
