//! How a call is sent and sent again: on the connection at hand, on a new one, in another encoding, on behalf of another call.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    cancel::CancelToken,
    error::{CallError, Result},
    line::{Line, gone},
    link::blocking::{Connection, Departure},
    method::{AsRequest, ErrorOf, Method, ReplyOf},
    scratch::with_body,
    session::{
        Outcome, Outgoing, Patience, Serial,
        typed::{Asked, Settled},
    },
    ticket::Ticket,
};

/// What a client and its calls share.
#[derive(Clone)]
pub(crate) struct Calls {
    pub(crate) line: Arc<Line>,
    /// The running call on whose behalf these are made.
    pub(crate) scope: Option<CancelToken>,
}

impl Calls {
    /// What a typed call needs before its request is encoded. It goes to the service called `name`, or to the one that `M` names.
    ///
    /// # Errors
    /// `usage` if the names in `M` aren't valid.
    pub(crate) fn prepare<M: Method>(
        &self,
        name: Option<&str>,
        timeout: Option<Duration>,
    ) -> Result<(Arc<Connection>, Instant, Asked)> {
        let now = Instant::now();
        let (connection, asked) = self.line.ask::<M>(name, now, timeout)?;
        Ok((connection, now, asked))
    }

    /// What a typed call ended with. It is sent once more if its service wants it in another encoding.
    pub(crate) fn settle<Q: AsRequest>(
        &self,
        outcome: Outcome,
        mut asked: Asked,
        request: &Q,
    ) -> Result<ReplyOf<Q>, CallError<ErrorOf<Q>>> {
        match asked.settle::<Q::Method>(outcome) {
            Settled::Done(result) => result,
            Settled::Again => {
                let outcome = self.send_again(&mut asked, request)?.wait(None);
                self.settle(outcome, asked, request)
            }
        }
    }

    /// Sends a typed call once more, as its service wants it.
    pub(crate) fn send_again<Q: AsRequest>(&self, asked: &mut Asked, request: &Q) -> Result<Ticket> {
        let now = Instant::now();
        self.line.routes(|routes| routes.ask_again(now, asked));
        with_body(asked.encoding, request, |body| self.submit_on(self.line.connection(), now, &asked.outgoing(body)))
    }

    pub(crate) fn submit(&self, call: &Outgoing<'_>) -> Result<Ticket> {
        self.submit_on(self.line.connection(), Instant::now(), call)
    }

    pub(crate) fn submit_on(&self, connection: Arc<Connection>, now: Instant, call: &Outgoing<'_>) -> Result<Ticket> {
        let (connection, id, patience) = self.begin_on(connection, now, call)?;
        Ok(Ticket::new(connection, id, patience))
    }

    /// Sends a call, and leaves it to the caller to wait for it or to give it up.
    pub(crate) fn begin_on(
        &self,
        connection: Arc<Connection>,
        now: Instant,
        call: &Outgoing<'_>,
    ) -> Result<(Arc<Connection>, Serial, Patience)> {
        if let Some(scope) = &self.scope {
            let (id, patience) = scope.submit(&connection, now, call)?;
            return Ok((connection, id, patience));
        }
        let patience = Patience::new(now, call.timeout_ms);
        let (connection, id) = self.on_a_live_one(connection, now, call, Connection::submit)?;
        Ok((connection, id, patience))
    }

    /// Sends a call and waits for its end.
    pub(crate) fn exchange(&self, connection: Arc<Connection>, now: Instant, call: &Outgoing<'_>) -> Outcome {
        if let Some(scope) = &self.scope {
            let (id, patience) = scope.submit(&connection, now, call)?;
            return connection.wait(id, patience, None);
        }
        self.on_a_live_one(connection, now, call, Connection::exchange).map(|(_, response)| response)
    }

    /// Sends a call; on a new connection if the one at hand is dead and nothing of the call was written there.
    fn on_a_live_one<T>(
        &self,
        connection: Arc<Connection>,
        now: Instant,
        call: &Outgoing<'_>,
        send: impl Fn(&Connection, &Outgoing<'_>, Departure, Instant) -> Result<Option<T>>,
    ) -> Result<(Arc<Connection>, T)> {
        let departure = self.departure();
        if let Some(sent) = send(&connection, call, departure, now)? {
            return Ok((connection, sent));
        }
        let connection = self.line.replace(&connection, Patience::new(now, call.timeout_ms))?;
        match send(&connection, call, departure, now)? {
            Some(sent) => Ok((connection, sent)),
            None => Err(gone(&connection)),
        }
    }

    fn departure(&self) -> Departure {
        if self.line.is_corked() { Departure::Gathered } else { Departure::AtOnce }
    }
}
