//! A call under way that will be waited for, or given up.

use std::{os::fd::BorrowedFd, sync::Arc, time::Instant};

use crate::{
    error::Result,
    line::gone,
    link::blocking::{Connection, Departure},
    session::{Outcome, Outgoing, Patience, Serial},
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

    /// Sends a call on this connection and no other.
    ///
    /// # Errors
    /// `broker_lost` if it takes no more; as [`Connection::submit`].
    pub(crate) fn on(connection: &Arc<Connection>, call: &Outgoing<'_>) -> Result<Self> {
        let now = Instant::now();
        let id = connection.submit(call, Departure::AtOnce, now)?.ok_or_else(|| gone(connection))?;
        Ok(Self::new(connection.clone(), id, Patience::new(now, call.timeout_ms)))
    }

    /// Where it is under way.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Waits for the end of the call, until a time.
    pub(crate) fn wait_until(&mut self, at_most: Option<Instant>) -> Option<Outcome> {
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
