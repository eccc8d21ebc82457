//! Calls that are under way. Dropping one cancels it.

use std::{
    fmt,
    ops::ControlFlow,
    os::fd::BorrowedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    client::Client,
    error::{CallError, Result},
    link::blocking::Connection,
    method::Method,
    request::Response,
    session::{
        Outcome, Patience, Serial,
        typed::{Asked, Settled},
    },
};

/// A typed call that is under way. Dropping it cancels the call.
#[must_use = "dropping it cancels the call"]
pub struct Pending<M: Method> {
    client: Client,
    ticket: Ticket,
    asked: Asked,
    /// Kept for a service that wants it in another encoding.
    request: M,
}

impl<M: Method> Pending<M> {
    pub(crate) fn new(client: Client, ticket: Ticket, asked: Asked, request: M) -> Self {
        Self { client, ticket, asked, request }
    }

    /// Waits for the reply.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn wait(self) -> Result<M::Reply, CallError<M::Error>> {
        let Self { client, mut ticket, asked, request } = self;
        client.settle(ticket.wait(None), asked, &request)
    }

    /// Waits for the reply, or until `interrupt` is readable, for example a signalfd: the call is cancelled then.
    ///
    /// # Errors
    /// As [`Client::call`]; `cancelled` after an interrupt.
    pub fn wait_or_interrupt(mut self, interrupt: BorrowedFd<'_>) -> Result<M::Reply, CallError<M::Error>> {
        loop {
            match self.asked.settle::<M>(self.ticket.wait(Some(interrupt))) {
                Settled::Done(result) => return result,
                Settled::Again => self.ticket = self.client.send_again(&mut self.asked, &self.request)?,
            }
        }
    }

    /// Waits for the reply, but for no longer than `patience`: breaks with what the call ended with, or continues with the call, which
    /// is still under way.
    pub fn wait_for(mut self, patience: Duration) -> ControlFlow<Result<M::Reply, CallError<M::Error>>, Self> {
        let at_most = Instant::now().checked_add(patience);
        loop {
            let Some(outcome) = self.ticket.wait_until(at_most) else { return ControlFlow::Continue(self) };
            match self.asked.settle::<M>(outcome) {
                Settled::Done(result) => return ControlFlow::Break(result),
                Settled::Again => match self.client.send_again(&mut self.asked, &self.request) {
                    Ok(ticket) => self.ticket = ticket,
                    Err(error) => return ControlFlow::Break(Err(error.into())),
                },
            }
        }
    }

    /// Cancels the call: the service is told. The same as dropping it.
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
    pub fn wait(mut self) -> Result<Response> {
        self.ticket.wait(None).map(Response::detached)
    }

    /// Waits for the reply, or until `interrupt` is readable, for example a signalfd: the call is cancelled then.
    ///
    /// # Errors
    /// What the call ended with; `cancelled` after an interrupt.
    pub fn wait_or_interrupt(mut self, interrupt: BorrowedFd<'_>) -> Result<Response> {
        self.ticket.wait(Some(interrupt)).map(Response::detached)
    }

    /// Waits for the reply, but for no longer than `patience`: breaks with what the call ended with, or continues with the call, which
    /// is still under way.
    pub fn wait_for(mut self, patience: Duration) -> ControlFlow<Result<Response>, Self> {
        match self.ticket.wait_until(Instant::now().checked_add(patience)) {
            Some(outcome) => ControlFlow::Break(outcome.map(Response::detached)),
            None => ControlFlow::Continue(self),
        }
    }

    /// Cancels the call: the service is told. The same as dropping it.
    pub fn cancel(self) {}
}

/// A place in the table of a connection. Dropping it gives the call up.
#[derive(Debug)]
pub(crate) struct Ticket {
    connection: Arc<Connection>,
    id: Serial,
    patience: Patience,
    open: bool,
}

impl Ticket {
    pub(crate) fn new(connection: Arc<Connection>, id: Serial, patience: Patience) -> Self {
        Self { connection, id, patience, open: true }
    }

    /// Waits for the end of the call, until a time.
    fn wait_until(&mut self, at_most: Option<Instant>) -> Option<Outcome> {
        let outcome = self.connection.wait_until(self.id, self.patience, at_most)?;
        self.open = false;
        Some(outcome)
    }

    /// Waits for the end of the call.
    pub(crate) fn wait(&mut self, interrupt: Option<BorrowedFd<'_>>) -> Outcome {
        self.open = false;
        self.connection.wait(self.id, self.patience, interrupt)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            self.connection.abandon(self.id);
        }
    }
}
