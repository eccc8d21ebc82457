//! The connection of an async client and what it knows of the methods it calls: one lock for both, never held while anything is waited
//! for.

use std::{
    sync::{Arc, Mutex as Lock, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ipc_protocol::limits::DEFAULT_TIMEOUT_MS;
use tokio::{
    sync::{Mutex, Notify},
    time::timeout_at,
};

use crate::{
    error::Result,
    line::{Redial, reconnecting, still_connecting},
    link::tokio::Connection,
    session::{Patience, Role, patience::GRACE, routes::Routes},
};

/// A connection, and another one when it is dead.
pub(crate) struct AsyncLine {
    redial: Redial,
    state: Lock<State>,
    /// Held by the future that connects.
    dialling: Mutex<()>,
    /// There is another connection, or there will be none.
    changed: Notify,
}

struct State {
    connection: Arc<Connection>,
    routes: Routes,
    /// Whether no connection follows the one at hand: its service has ended.
    is_last: bool,
}

impl AsyncLine {
    pub(super) fn new(connection: Connection, redial: Redial) -> Self {
        let state = State { connection: Arc::new(connection), routes: Routes::default(), is_last: false };
        Self { redial, state: Lock::new(state), dialling: Mutex::new(()), changed: Notify::new() }
    }

    /// The connection that calls use now.
    pub(super) fn connection(&self) -> Arc<Connection> {
        self.state().connection.clone()
    }

    /// Puts another connection in place of a dead one.
    pub(super) fn adopt(&self, connection: Arc<Connection>) {
        let dead = std::mem::replace(&mut self.state().connection, connection);
        drop(dead); // which ends it, without the lock
        self.changed.notify_waiters();
    }

    /// No connection follows the one at hand.
    pub(super) fn retire(&self) {
        self.state().is_last = true;
        self.changed.notify_waiters();
    }

    /// Whether a dead connection is followed by another one.
    pub(super) fn may_come_back(&self) -> bool {
        self.redial.is_possible() && !self.state().is_last
    }

    /// Waits until there may be a live connection instead of a dead one, or until a time.
    pub(super) async fn await_successor(&self, dead: &Arc<Connection>, until: Instant) {
        let changed = self.changed.notified();
        if Arc::ptr_eq(&self.connection(), dead) && self.may_come_back() {
            let _ = timeout_at(until.into(), changed).await; // the caller looks what there is now
        }
    }

    /// A live connection instead of a dead one. One future connects; the others wait for it, each no longer than its own call may take.
    ///
    /// # Errors
    /// `unavailable`, `denied`; `broker_lost` if none is made.
    pub(super) async fn replace(&self, dead: &Arc<Connection>, patience: Patience) -> Result<Arc<Connection>> {
        let until = patience.until(DEFAULT_TIMEOUT_MS) - GRACE;
        let late = |_| still_connecting(dead.place());
        let _turn = timeout_at(until.into(), self.dialling.lock()).await.map_err(late)?;
        let present = self.connection();
        if present.takes_more() {
            return Ok(present);
        }
        let connection = match &self.redial {
            Redial::NextCall(dial) => {
                let left = until.saturating_duration_since(Instant::now());
                Arc::new(Connection::dial(dial, left, Role::Caller).await?)
            }
            Redial::Service if self.may_come_back() => return Err(reconnecting(dead.place())),
            Redial::Service | Redial::Never => return Err(dead.gone()),
        };
        self.adopt(connection.clone());
        Ok(connection)
    }

    /// Uses what is known of methods.
    pub(super) fn routes<T>(&self, with: impl FnOnce(&mut Routes) -> T) -> T {
        with(&mut self.state().routes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a broker may take to accept a connection.
pub(super) const CONNECT: Duration = Duration::from_secs(5);
