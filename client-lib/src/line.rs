//! The connection of a client and what it knows of the methods it calls: one lock for both, never held while anything is waited for.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ipc_protocol::{ErrorCode, Retry, limits::DEFAULT_TIMEOUT_MS};

use crate::{
    error::{Error, Result},
    link::{blocking::Connection, dial::Dial},
    method::Method,
    session::{Patience, Role, patience::GRACE, routes::Routes, typed::Asked},
};

/// A connection, and another one when it is dead.
pub(crate) struct Line {
    redial: Redial,
    /// How many [`Corked`](crate::Corked) live.
    corks: AtomicUsize,
    state: Mutex<State>,
    /// A thread that connected has come back.
    redialled: Condvar,
}

struct State {
    connection: Arc<Connection>,
    routes: Routes,
    dialling: Dialling,
    /// Whether no connection follows the one at hand: its service has ended.
    is_last: bool,
}

/// Who makes a new connection when this one is dead.
pub(crate) enum Redial {
    /// The next call.
    NextCall(Dial),
    /// The service that the connection belongs to, which registers on it first.
    Service,
    /// None is made.
    Never,
}

impl Redial {
    /// Whether a dead connection is followed by another one.
    pub(crate) fn is_possible(&self) -> bool {
        match self {
            Self::NextCall(_) | Self::Service => true,
            Self::Never => false,
        }
    }
}

/// Whether a thread connects, so that the others need not.
enum Dialling {
    /// The number of attempts that have ended, and what the last one ended with if it failed.
    Idle(u64, Option<Error>),
    /// The number of attempts before this one.
    Busy(u64),
}

impl Line {
    pub(crate) fn new(connection: Connection, redial: Redial) -> Self {
        let (connection, routes) = (Arc::new(connection), Routes::default());
        let state = State { connection, routes, dialling: Dialling::Idle(0, None), is_last: false };
        Self { redial, corks: AtomicUsize::new(0), state: Mutex::new(state), redialled: Condvar::new() }
    }

    /// From now on calls gather, until [`Line::uncork`].
    pub(crate) fn cork(&self) {
        self.corks.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one cork out.
    pub(crate) fn uncork(&self) {
        self.corks.fetch_sub(1, Ordering::Relaxed);
    }

    /// Puts another connection in place of a dead one.
    pub(crate) fn adopt(&self, connection: Arc<Connection>) {
        self.state().connection = connection;
        self.redialled.notify_all();
    }

    /// No connection follows the one at hand.
    pub(crate) fn retire(&self) {
        self.state().is_last = true;
        self.redialled.notify_all();
    }

    /// Whether a dead connection is followed by another one.
    pub(crate) fn may_come_back(&self) -> bool {
        self.redial.is_possible() && !self.state().is_last
    }

    /// Whether a thread reads for all, so that the others must not.
    pub(crate) fn is_read_for_all(&self) -> bool {
        matches!(self.redial, Redial::Service)
    }

    /// A live connection instead of a dead one, if there is one already.
    pub(crate) fn successor(&self, dead: &Arc<Connection>) -> Option<Arc<Connection>> {
        let connection = self.connection();
        (!Arc::ptr_eq(&connection, dead) && connection.takes_more()).then_some(connection)
    }

    /// Waits until there may be a live connection instead of a dead one, or until a time.
    pub(crate) fn await_successor(&self, dead: &Arc<Connection>, until: Instant) {
        let mut state = self.state();
        while Arc::ptr_eq(&state.connection, dead) && !state.is_last {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            (state, _) = self.redialled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A live connection instead of a dead one. One thread connects; the others wait for it, each no longer than its own call may take.
    pub(crate) fn replace(&self, dead: &Arc<Connection>, patience: Patience) -> Result<Arc<Connection>> {
        let until = patience.until(DEFAULT_TIMEOUT_MS) - GRACE;
        let mut state = self.state();
        let seen = state.dialling.attempts();
        loop {
            if !Arc::ptr_eq(&state.connection, dead) && state.connection.takes_more() {
                return Ok(state.connection.clone());
            }
            match &state.dialling {
                Dialling::Idle(ended, Some(error)) if *ended > seen => return Err(error.clone()),
                Dialling::Idle(before, _) => {
                    state.dialling = Dialling::Busy(*before);
                    drop(state);
                    return self.redial(dead, until);
                }
                Dialling::Busy(_) => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(still_connecting(dead.place()));
            }
            (state, _) = self.redialled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Connects, for all threads that wait for it.
    fn redial(&self, dead: &Connection, until: Instant) -> Result<Arc<Connection>> {
        let connected = match &self.redial {
            Redial::NextCall(dial) => {
                dial.connect(until.saturating_duration_since(Instant::now()), Role::Caller).map(Arc::new)
            }
            Redial::Service if self.state().is_last => Err(gone(dead)),
            Redial::Service => Err(reconnecting(dead.place())),
            Redial::Never => Err(gone(dead)),
        };
        let mut state = self.state();
        if let Ok(connection) = &connected {
            state.connection = connection.clone();
        }
        state.dialling = Dialling::Idle(state.dialling.attempts() + 1, connected.as_ref().err().cloned());
        drop(state);
        self.redialled.notify_all();
        connected
    }

    pub(crate) fn is_corked(&self) -> bool {
        self.corks.load(Ordering::Relaxed) > 0
    }

    /// The connection that calls use now.
    pub(crate) fn connection(&self) -> Arc<Connection> {
        self.state().connection.clone()
    }

    /// What a typed call needs before its request is encoded.
    ///
    /// # Errors
    /// `usage` if the names in `M` aren't valid.
    pub(crate) fn ask<M: Method>(
        &self,
        name: Option<&str>,
        now: Instant,
        timeout: Option<Duration>,
    ) -> Result<(Arc<Connection>, Asked)> {
        let mut state = self.state();
        Ok((state.connection.clone(), state.routes.ask::<M>(name, now, timeout)?))
    }

    /// Uses what is known of methods.
    pub(crate) fn routes<T>(&self, with: impl FnOnce(&mut Routes) -> T) -> T {
        with(&mut self.state().routes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dialling {
    fn attempts(&self) -> u64 {
        match self {
            Self::Idle(ended, _) => *ended,
            Self::Busy(before) => *before,
        }
    }
}

/// What a call ends with that could not leave.
pub(crate) fn gone(connection: &Connection) -> Error {
    Error::new(ErrorCode::BROKER_LOST, connection.ended_before()).with_retry(Retry::Safe)
}

pub(crate) fn reconnecting(place: &str) -> Error {
    let text = format!("the broker at {place} went away and the service is not registered again yet");
    Error::new(ErrorCode::UNAVAILABLE, text)
}

pub(crate) fn still_connecting(place: &str) -> Error {
    let text = format!("the broker at {place} doesn't accept a connection in time");
    Error::new(ErrorCode::UNAVAILABLE, text)
}
