//! The place of a call with streams on its connection.

use std::{
    os::fd::BorrowedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use ipc_protocol::Call;

use crate::{
    link::blocking::{Connection, Patient},
    session::{Outcome, Patience, Serial},
};

/// Shared by the halves of a call. Dropping it ends the call, if that has not happened before.
#[derive(Debug)]
pub(crate) struct Place {
    pub(super) connection: Arc<Connection>,
    pub(super) id: Serial,
    /// How often the other side is shown that this one is there, while it waits.
    sign: Duration,
    is_delivered: bool,
}

impl Place {
    /// Of a call that was started.
    pub(super) fn of_caller(connection: Arc<Connection>, id: Serial, idle_ms: u32) -> Self {
        let idle_ms = if idle_ms == 0 { connection.call_default_ms() } else { idle_ms };
        Self { connection, id, sign: sign_of(idle_ms), is_delivered: false }
    }

    /// Of a call that was delivered. `None` if it has no streams, or has ended.
    pub(crate) fn of_delivered(connection: &Arc<Connection>, call: &Call) -> Option<Self> {
        let id = connection.delivered_flow(call.id)?;
        Some(Self { connection: connection.clone(), id, sign: sign_of(call.timeout_ms), is_delivered: true })
    }

    /// Allows the first items of the caller.
    pub(crate) fn welcome_items(&self) {
        self.connection.welcome_items(self.id);
    }

    /// From now on nothing is sent or received: the call is answered.
    pub(crate) fn close(&self) {
        self.connection.close_flow(self.id);
    }

    /// A wait that shows the other side that this one is there.
    pub(super) fn patient<'a>(&self, until: Option<Instant>, interrupt: Option<BorrowedFd<'a>>) -> Patient<'a> {
        Patient { until, interrupt, sign: self.sign }
    }

    /// Waits for the end of the call.
    pub(super) fn outcome(&self) -> Outcome {
        loop {
            if let Some(outcome) = self.outcome_until(None) {
                return outcome;
            }
        }
    }

    /// Waits for the end of the call until a time, if there is one; `None` then.
    pub(super) fn outcome_until(&self, until: Option<Instant>) -> Option<Outcome> {
        loop {
            let now = Instant::now();
            let patience = Patience::new(now, u32::MAX);
            let at_most = until.into_iter().chain([now + self.sign]).min();
            if let Some(outcome) = self.connection.wait_until(self.id, patience, at_most, None) {
                return Some(outcome);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return None;
            }
            self.connection.show_sign(self.id);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_delivered {
            self.connection.abandon(self.id);
        }
        self.close();
    }
}

/// How often to show the other side of a call that this one is there: three times in the silence after which it would be given up.
pub(crate) fn sign_of(idle_ms: u32) -> Duration {
    (Duration::from_millis(u64::from(idle_ms)) / 3).max(SHORTEST)
}

/// Signs of life come no closer than this.
const SHORTEST: Duration = Duration::from_millis(5);
