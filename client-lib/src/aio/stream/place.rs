//! The place of a call with streams on its connection.

use std::{sync::Arc, time::Duration};

use ipc_protocol::Call;

use crate::{link::tokio::Connection, session::Serial, stream::sign_of};

/// Shared by the halves of a call. Dropping it ends the call, if that has not happened before.
#[derive(Debug)]
pub(in crate::aio) struct Place {
    pub(super) connection: Arc<Connection>,
    pub(super) id: Serial,
    /// How often the other side is shown that this one is there, while it waits.
    pub(super) sign: Duration,
    is_delivered: bool,
}

impl Place {
    /// Of a call that was started.
    pub(super) fn of_caller(connection: Arc<Connection>, id: Serial, idle_ms: u32) -> Self {
        let idle_ms = if idle_ms == 0 { connection.call_default_ms() } else { idle_ms };
        Self { connection, id, sign: sign_of(idle_ms), is_delivered: false }
    }

    /// Of a call that was delivered. `None` if it has no streams, or has ended.
    pub(in crate::aio) fn of_delivered(connection: &Arc<Connection>, call: &Call) -> Option<Self> {
        let id = connection.delivered_flow(call.id)?;
        Some(Self { connection: connection.clone(), id, sign: sign_of(call.timeout_ms), is_delivered: true })
    }

    /// Allows the first items of the caller.
    pub(in crate::aio) fn welcome_items(&self) {
        self.connection.welcome_items(self.id);
    }

    /// From now on nothing is sent or received: the call is answered.
    pub(in crate::aio) fn close(&self) {
        self.connection.close_flow(self.id);
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
