//! The place of a call with streams on its connection.

use std::{ops::Deref, os::fd::BorrowedFd, sync::Arc, time::Instant};

use ipc_protocol::{Call, ErrorCode};

use super::course::{Again, At, Carrier, Course, sign_of};
use crate::{
    link::blocking::{Connection, Patient},
    session::{Outcome, Patience, Serial, outgoing::reply_encoding},
};

/// Shared by the halves of a call.
#[derive(Debug)]
pub(crate) struct Place(Course<Connection>);

impl Place {
    /// Of a call that was started.
    pub(super) fn of_caller(first: At<Connection>, again: Option<Again<Connection>>) -> Self {
        Self(Course::of_caller(first, again))
    }

    /// Of a call that was delivered. `None` if it has no streams, or has ended.
    pub(crate) fn of_delivered(connection: &Arc<Connection>, call: &Call) -> Option<Self> {
        let (id, connection) = (connection.delivered_flow(call.id)?, connection.clone());
        let (encoding, sign) = (reply_encoding(call.encoding), sign_of(call.timeout_ms));
        Some(Self(Course::of_delivered(At { connection, id, encoding, sign })))
    }

    /// Allows the first items of the caller.
    pub(crate) fn welcome_items(&self) {
        let At { connection, id, .. } = self.at();
        connection.welcome_items(*id);
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
        let At { connection, id, sign, .. } = self.at();
        loop {
            let now = Instant::now();
            let patience = Patience::new(now, u32::MAX);
            let at_most = until.into_iter().chain([now + *sign]).min();
            if let Some(outcome) = connection.wait_until(*id, patience, at_most, None) {
                return Some(outcome);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return None;
            }
            connection.show_sign(*id);
        }
    }
}

impl Deref for Place {
    type Target = Course<Connection>;
    fn deref(&self) -> &Course<Connection> {
        &self.0
    }
}

impl At<Connection> {
    /// A wait that shows the other side that this one is there.
    pub(super) fn patient<'a>(&self, until: Option<Instant>, interrupt: Option<BorrowedFd<'a>>) -> Patient<'a> {
        Patient { until, interrupt, sign: self.sign }
    }
}

impl Carrier for Connection {
    fn call_default_ms(&self) -> u32 {
        self.call_default_ms()
    }

    fn has_flowed(&self, id: Serial) -> bool {
        self.has_flowed(id)
    }

    fn finish(&self, id: Serial, error: Option<(ErrorCode, &str)>) {
        self.finish_items(id, error);
    }

    fn give_up(&self, id: Serial) {
        self.abandon(id);
    }

    fn close(&self, id: Serial) {
        self.close_flow(id);
    }
}
