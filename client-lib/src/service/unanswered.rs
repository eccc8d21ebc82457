//! The calls that a service was given on one connection and has not answered.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use ipc_protocol::{ErrorCode, transport::Bell};

use crate::{cancel::CancelToken, link::blocking::Connection};

/// Pooled calls by the broker's number, each with what tells it that its caller has stopped waiting.
pub(super) struct Unanswered {
    calls: Mutex<HashMap<u64, CancelToken>>,
    /// Rings when the last call was answered, once that is waited for.
    idle: Bell,
    is_watched: AtomicBool,
}

impl Unanswered {
    pub(super) fn new(idle: Bell) -> Self {
        Self { calls: Mutex::default(), idle, is_watched: AtomicBool::new(false) }
    }

    /// From now on the bell rings when the last call was answered. Look with [`Unanswered::is_empty`] afterwards.
    pub(super) fn watch(&self) {
        self.is_watched.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls().is_empty()
    }

    /// Enters a call, unless `limit` calls are running already: a broker that keeps its word never sends more.
    pub(super) fn enter(&self, id: u64, deadline: Option<Instant>, limit: usize) -> Option<CancelToken> {
        let mut calls = self.calls();
        if calls.len() >= limit {
            return None;
        }
        let token = CancelToken::of_call(id, deadline);
        calls.insert(id, token.clone());
        Some(token)
    }

    /// Takes a call out, once it is answered.
    pub(super) fn leave(&self, id: u64) {
        let mut calls = self.calls();
        calls.remove(&id);
        if calls.is_empty() && self.is_watched.load(Ordering::SeqCst) {
            self.idle.ring();
        }
    }

    /// Tells a call that its caller has stopped waiting. Outside the lock: what waits for this may do anything.
    pub(super) fn cancel(&self, connection: &Connection, id: u64, reason: ErrorCode) {
        let token = self.calls().get(&id).cloned();
        if let Some(token) = token {
            token.cancel(connection, reason);
        }
    }

    /// Tells all of them.
    pub(super) fn cancel_all(&self, connection: &Connection, reason: ErrorCode) {
        let tokens: Vec<_> = self.calls().values().cloned().collect();
        tokens.iter().for_each(|token| token.cancel(connection, reason));
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<u64, CancelToken>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
