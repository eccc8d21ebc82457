//! A call under way that will be waited for, or given up.

use std::{sync::Arc, time::Instant};

use super::connection::Connection;
use crate::{
    error::Result,
    session::{Outcome, Patience, Serial, outgoing::Operated},
};

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

    /// Sends a call of the broker on this connection and no other.
    ///
    /// # Errors
    /// `broker_lost` if it takes no more; as [`Connection::submit`].
    pub(crate) fn on(connection: &Arc<Connection>, asked: &Operated) -> Result<Self> {
        let (now, call) = (Instant::now(), asked.outgoing());
        let id = connection.submit(&call, now)?.ok_or_else(|| connection.gone())?;
        Ok(Self::new(connection.clone(), id, Patience::new(now, call.timeout_ms)))
    }

    /// A ping.
    pub(crate) fn of_ping(connection: &Arc<Connection>, patience: Patience) -> Option<Self> {
        Some(Self::new(connection.clone(), connection.ping()?, patience))
    }

    /// Where it is under way.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Waits for the end of the call.
    pub(crate) async fn end(&mut self) -> Outcome {
        let outcome = self.connection.end_of(self.id, self.patience).await;
        self.open = false;
        outcome
    }

    /// Leaves the call under way, to be taken by its number.
    pub(crate) fn into_id(mut self) -> (Arc<Connection>, Serial) {
        self.open = false;
        (self.connection.clone(), self.id)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            self.connection.abandon(self.id);
        }
    }
}
