//! What an async method learns about the call it answers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{aio::client::AsyncClient, link::tokio::Connection, service::Caller};

/// A running call: its caller, its deadline, and a client for calls of its own. That the caller has stopped waiting a method sees by
/// being dropped.
#[derive(Clone, Debug)]
pub struct AsyncContext {
    pub(super) caller: Arc<Caller>,
    pub(super) deadline: Instant,
    pub(super) client: AsyncClient,
    /// Where the call came from.
    pub(super) connection: Arc<Connection>,
}

impl AsyncContext {
    /// Who called.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// When the caller stops waiting. A call with streams has as much time again after each item of either side.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How long the caller will go on waiting; zero when the deadline has passed.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// A client on the service's own connection, for nested calls. A call through it, or through a clone of it, is one on behalf of
    /// this call: it has no more time than this call has left, and it ends when the caller cancels and when the method returns.
    /// [`AsyncClient::unbound`] gives a client whose calls live longer.
    #[must_use]
    pub fn client(&self) -> &AsyncClient {
        &self.client
    }
}
