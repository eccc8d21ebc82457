//! Calls that are under way. Dropping one cancels it.

use std::{
    fmt,
    ops::ControlFlow,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use crate::{
    calls::Calls,
    error::{CallError, Result},
    method::{AsRequest, ErrorOf, Method, ReplyOf},
    request::Response,
    session::typed::{Asked, Settled},
    ticket::Ticket,
};

/// A typed call that is under way. Dropping it cancels the call.
#[must_use = "dropping it cancels the call"]
pub struct Pending<Q: AsRequest> {
    calls: Calls,
    ticket: Ticket,
    asked: Asked,
    /// Kept for a service that wants it in another encoding.
    request: Q,
}

impl<Q: AsRequest> Pending<Q> {
    pub(crate) fn new(calls: Calls, ticket: Ticket, asked: Asked, request: Q) -> Self {
        Self { calls, ticket, asked, request }
    }

    /// Waits for the reply.
    ///
    /// # Errors
    /// As [`Client::call`](crate::Client::call).
    pub fn wait(self) -> Result<ReplyOf<Q>, CallError<ErrorOf<Q>>> {
        let Self { calls, mut ticket, asked, request } = self;
        calls.settle(ticket.wait(None), asked, &request)
    }

    /// Waits for the reply, or until `interrupt` is readable, for example a signalfd: the call is cancelled then.
    ///
    /// # Errors
    /// As [`Client::call`](crate::Client::call); `cancelled` after an interrupt.
    pub fn wait_or_interrupt(mut self, interrupt: BorrowedFd<'_>) -> Result<ReplyOf<Q>, CallError<ErrorOf<Q>>> {
        loop {
            match self.asked.settle::<Q::Method>(self.ticket.wait(Some(interrupt))) {
                Settled::Done(result) => return result,
                Settled::Again => self.ticket = self.calls.send_again(&mut self.asked, &self.request)?,
            }
        }
    }

    /// Waits for the reply, but for no longer than `patience`: breaks with what the call ended with, or continues with the call, which
    /// is still under way.
    pub fn wait_for(mut self, patience: Duration) -> ControlFlow<Result<ReplyOf<Q>, CallError<ErrorOf<Q>>>, Self> {
        let at_most = Instant::now().checked_add(patience);
        loop {
            let Some(outcome) = self.ticket.wait_until(at_most) else { return ControlFlow::Continue(self) };
            match self.asked.settle::<Q::Method>(outcome) {
                Settled::Done(result) => return ControlFlow::Break(result),
                Settled::Again => match self.calls.send_again(&mut self.asked, &self.request) {
                    Ok(ticket) => self.ticket = ticket,
                    Err(error) => return ControlFlow::Break(Err(error.into())),
                },
            }
        }
    }

    /// Cancels the call: the service is told. The same as dropping it.
    pub fn cancel(self) {}
}

impl<Q: AsRequest> fmt::Debug for Pending<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pending({}.{})", <Q::Method as Method>::SERVICE, <Q::Method as Method>::METHOD)
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
