//! A subscription's place on one connection.

use std::{
    os::fd::BorrowedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use ipc_protocol::{
    control::{self, operation},
    transport::Bell,
};

use crate::{
    calls::Calls,
    error::Result,
    link::blocking::{Connection, Heard},
    session::{Keep, Outcome, Outgoing, Patience, Serial, What, outgoing::Operated},
};

/// Where events of a subscription arrive. Dropping it gives the subscription up.
#[derive(Debug)]
pub(super) struct Place {
    connection: Arc<Connection>,
    id: Serial,
    patience: Patience,
}

impl Place {
    /// Asks for a subscription; on a new connection if the one at hand is dead.
    ///
    /// # Errors
    /// As for a call that is started.
    pub(super) fn ask(calls: &Calls, connection: Arc<Connection>, request: &control::Subscribe) -> Result<Self> {
        let operated = Operated::of::<operation::Subscribe>(request, Some(TIMEOUT))?;
        let outgoing = asking(&operated, request);
        let (connection, id, patience) = calls.begin_on(connection, Instant::now(), &outgoing)?;
        Ok(Self { connection, id, patience })
    }

    /// Waits for the broker's answer, but no longer than until a time or until `interrupt` is readable. A broker that answers nothing is
    /// waited for up to [`TIMEOUT`] in all.
    pub(super) fn answer(&self, at_most: Option<Instant>, interrupt: Option<BorrowedFd<'_>>) -> Option<Outcome> {
        self.connection.wait_until(self.id, self.patience, at_most, interrupt)
    }

    /// Waits for what the subscription tells.
    ///
    /// # Errors
    /// `usage` on the thread that reads for a service.
    pub(super) fn listen(&self, until: Option<Instant>, interrupt: Option<BorrowedFd<'_>>) -> Result<Heard> {
        self.connection.listen(self.id, until, interrupt)
    }

    pub(super) fn ring(&self, bell: &Bell) {
        self.connection.ring_for(self.id, bell);
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// When the broker is not waited for any more.
    pub(super) fn due(&self) -> Instant {
        self.connection.until(self.patience)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection.unsubscribe(self.id);
    }
}

/// The call that asks for a subscription.
pub(crate) fn asking<'a>(operated: &'a Operated, request: &control::Subscribe) -> Outgoing<'a> {
    let events = usize::try_from(request.queue).unwrap_or(usize::MAX);
    Outgoing { what: What::Subscribe(Keep { keeping: request.policy, events }), ..operated.outgoing() }
}

/// The broker answers itself, so it takes no time unless it hangs.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
