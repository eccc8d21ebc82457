//! The place of a call with streams on its connection.

use std::{ops::Deref, sync::Arc};

use ipc_protocol::{Call, ErrorCode};

use crate::{
    link::tokio::Connection,
    session::{Serial, outgoing::reply_encoding},
    stream::{Again, At, Carrier, Course, sign_of},
};

/// Shared by the halves of a call. Dropping it ends the call, if that has not happened before.
#[derive(Debug)]
pub(in crate::aio) struct Place(Course<Connection>);

impl Place {
    /// Of a call that was started.
    pub(super) fn of_caller(first: At<Connection>, again: Option<Again<Connection>>) -> Self {
        Self(Course::of_caller(first, again))
    }

    /// Of a call that was delivered. `None` if it has no streams, or has ended.
    pub(in crate::aio) fn of_delivered(connection: &Arc<Connection>, call: &Call) -> Option<Self> {
        let (id, connection) = (connection.delivered_flow(call.id)?, connection.clone());
        let (encoding, sign) = (reply_encoding(call.encoding), sign_of(call.timeout_ms));
        Some(Self(Course::of_delivered(At { connection, id, encoding, sign })))
    }

    /// Allows the first items of the caller.
    pub(in crate::aio) fn welcome_items(&self) {
        let At { connection, id, .. } = self.at();
        connection.welcome_items(*id);
    }
}

impl Deref for Place {
    type Target = Course<Connection>;
    fn deref(&self) -> &Course<Connection> {
        &self.0
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
