//! Async calls that are under way.

use std::fmt;

use super::calls::Calls;
use crate::{
    error::{CallError, Result},
    link::tokio::Ticket,
    method::{AsRequest, ErrorOf, Method, ReplyOf},
    session::typed::Asked,
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
