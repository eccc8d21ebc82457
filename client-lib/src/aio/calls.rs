//! How a call is sent and sent again: on the connection at hand, on a new one, in another encoding, on behalf of another call.

use std::{
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, Instant},
};

use ipc_protocol::{ErrorCode, Retry};

use super::line::AsyncLine;
use crate::{
    error::{CallError, Error, Result},
    link::tokio::{Connection, Ticket},
    method::{AsRequest, ErrorOf, ReplyOf},
    scratch::with_body,
    session::{
        Outcome, Outgoing, Patience, Serial,
        patience::to_ms,
        typed::{Asked, Settled, read_end},
    },
};

/// What a client and its calls share.
#[derive(Clone)]
pub(super) struct Calls {
    pub(super) line: Arc<AsyncLine>,
    /// The running call on whose behalf these are made.
    pub(super) scope: Option<Scope>,
}

/// A running call.
#[derive(Clone)]
pub(super) struct Scope {
    /// The broker's number of it.
    pub(super) id: NonZeroU64,
    /// When its caller stops waiting, if it waits.
    pub(super) deadline: Option<Instant>,
    /// Where it came from: it has ended with that connection.
    pub(super) connection: Arc<Connection>,
}

impl Scope {
    /// A call on behalf of this one: it has no more time, and ends with it.
    fn bind(&self, call: &mut Outgoing<'_>, now: Instant) {
        call.parent = Some(self.id);
        let Some(deadline) = self.deadline else { return };
        let left = to_ms(deadline.saturating_duration_since(now));
        let wanted = if call.timeout_ms == 0 { self.connection.call_default_ms() } else { call.timeout_ms };
        if left < wanted {
            call.timeout_ms = left;
        }
    }
}

impl Calls {
    /// Sends a call; on a new connection if the one at hand is dead and nothing of the call was written there.
    ///
    /// # Errors
    /// What `send` says; why there is no connection.
    pub(super) async fn submit(
        &self,
        timeout_ms: u32,
        send: impl Fn(&Connection, Instant) -> Result<Option<Serial>>,
    ) -> Result<Ticket> {
        let now = Instant::now();
        let patience = Patience::new(now, timeout_ms);
        let connection = match &self.scope {
            Some(scope) => scope.connection.clone(),
            None => self.line.connection(),
        };
        connection.room(patience).await?;
        if let Some(id) = send(&connection, now)? {
            return Ok(Ticket::new(connection, id, patience));
        }
        if self.scope.is_some() {
            return Err(connection.gone());
        }
        let connection = self.line.replace(&connection, patience).await?;
        let id = send(&connection, now)?.ok_or_else(|| connection.gone())?;
        Ok(Ticket::new(connection, id, patience))
    }

    /// Sends a call whose body is encoded.
    ///
    /// # Errors
    /// As [`Calls::submit`].
    pub(super) async fn submit_call(&self, call: &Outgoing<'_>) -> Result<Ticket> {
        self.submit(call.timeout_ms, |connection, now| self.put(connection, now, call.clone())).await
    }

    /// Queues a call on a connection.
    pub(super) fn put(&self, connection: &Connection, now: Instant, mut call: Outgoing<'_>) -> Result<Option<Serial>> {
        if let Some(scope) = &self.scope {
            scope.bind(&mut call, now);
        }
        connection.submit(&call, now)
    }

    /// Sends a call whose body is encoded, and waits for its end.
    ///
    /// # Errors
    /// What the call ended with.
    pub(super) async fn exchange(&self, call: &Outgoing<'_>) -> Outcome {
        let outcome = self.submit_call(call).await?.end().await;
        if self.is_unsent(&outcome) { self.submit_call(call).await?.end().await } else { outcome }
    }

    /// Prepares a typed call, to the service called `name` or to the one that the method names, and sends it.
    ///
    /// # Errors
    /// `usage` if a name isn't valid; as [`Calls::submit`].
    pub(super) async fn ask<Q: AsRequest>(
        &self,
        name: Option<&str>,
        request: &Q,
        timeout: Option<Duration>,
    ) -> Result<(Asked, Ticket)> {
        let now = Instant::now();
        let asked = self.line.routes(|routes| routes.ask::<Q::Method>(name, now, timeout))?;
        let ticket = self.send(&asked, request).await?;
        Ok((asked, ticket))
    }

    /// Waits for the end of a typed call. It is sent once more if the connection took nothing of it, or its service wants it in another
    /// encoding.
    ///
    /// # Errors
    /// What the call ended with.
    pub(super) async fn settle<Q: AsRequest>(
        &self,
        (mut asked, mut ticket): (Asked, Ticket),
        request: &Q,
    ) -> Result<ReplyOf<Q>, CallError<ErrorOf<Q>>> {
        let mut outcome = ticket.end().await;
        if self.is_unsent(&outcome) {
            outcome = self.send(&asked, request).await?.end().await;
        }
        match asked.settle::<Q::Method>(outcome) {
            Settled::Done(result) => return result,
            Settled::Again => self.line.routes(|routes| routes.ask_again(Instant::now(), &mut asked)),
        }
        read_end::<Q::Method>(self.send(&asked, request).await?.end().await)
    }

    async fn send<Q: AsRequest>(&self, asked: &Asked, request: &Q) -> Result<Ticket> {
        let put = |connection: &Connection, now| {
            with_body(asked.encoding, request, |body| self.put(connection, now, asked.outgoing(body)))
        };
        self.submit(asked.patience.timeout_ms(), put).await
    }

    /// Whether a call that gathered with others has not left, because its connection was dead.
    pub(super) fn is_unsent<T>(&self, outcome: &Result<T>) -> bool {
        let is_unsent = |error: &Error| error.code() == ErrorCode::BROKER_LOST && error.retry() == Retry::Safe;
        self.scope.is_none() && self.line.may_come_back() && outcome.as_ref().is_err_and(is_unsent)
    }
}
