//! A call under way that will be waited for, or given up.

use std::{sync::Arc, time::Instant};

use super::connection::Connection;
use crate::session::{Outcome, Patience, Serial};

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

    /// A ping.
    pub(crate) fn of_ping(connection: &Arc<Connection>, now: Instant) -> Option<Self> {
        Some(Self::new(connection.clone(), connection.ping()?, Patience::new(now, 0)))
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
