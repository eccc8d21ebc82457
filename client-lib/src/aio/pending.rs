//! Async calls that are under way.

use std::fmt;

use super::calls::Calls;
use crate::{
    error::{CallError, Result},
    link::tokio::Ticket,
    method::{AsRequest, ErrorOf, Method, ReplyOf},
    request::{Request, Response},
    session::{
        Outgoing,
        outgoing::{Answer, routing_of},
        typed::Asked,
    },
};

/// A typed call that is under way. Dropping it, or the future that waits for it, cancels the call.
#[must_use = "dropping it cancels the call"]
pub struct AsyncPending<Q: AsRequest> {
    calls: Calls,
    asked: Asked,
    ticket: Ticket,
    /// Kept for a service that wants it in another encoding.
    request: Q,
}

impl<Q: AsRequest> AsyncPending<Q> {
    pub(super) fn new(calls: Calls, (asked, ticket): (Asked, Ticket), request: Q) -> Self {
        Self { calls, asked, ticket, request }
    }

    /// Waits for the reply.
    ///
    /// # Errors
    /// As [`AsyncClient::call`](crate::AsyncClient::call).
    pub async fn wait(self) -> Result<ReplyOf<Q>, CallError<ErrorOf<Q>>> {
        let Self { calls, asked, ticket, request } = self;
        calls.settle((asked, ticket), &request).await
    }
}

impl<Q: AsRequest> fmt::Debug for AsyncPending<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsyncPending({}.{})", <Q::Method as Method>::SERVICE, <Q::Method as Method>::METHOD)
    }
}

/// A call of bytes that is under way. Dropping it, or the future that waits for it, cancels the call.
#[must_use = "dropping it cancels the call"]
pub struct AsyncPendingBytes {
    calls: Calls,
    ticket: Ticket,
    /// Kept for another connection, should this one take nothing of it.
    request: Request,
}

impl AsyncPendingBytes {
    pub(super) async fn start(calls: Calls, request: Request) -> Result<Self> {
        let ticket = send(&calls, &request).await?;
        Ok(Self { calls, ticket, request })
    }

    /// Waits for the reply.
    ///
    /// # Errors
    /// What the call ended with.
    pub async fn wait(self) -> Result<Response> {
        let Self { calls, mut ticket, request } = self;
        let mut outcome = ticket.end().await;
        if calls.is_unsent(&outcome) {
            outcome = send(&calls, &request).await?.end().await;
        }
        outcome.map(Response::detached)
    }
}

async fn send(calls: &Calls, request: &Request) -> Result<Ticket> {
    let routing = routing_of(request)?;
    calls.submit_call(&Outgoing::of_request(request, &routing, Answer::Wanted)).await
}

impl fmt::Debug for AsyncPendingBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsyncPendingBytes({})", self.request.target)
    }
}
