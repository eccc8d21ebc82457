//! The calls that a service was given on one connection and has not answered.

use std::{
    collections::HashMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use ipc_protocol::ErrorCode;

use super::CancelToken;
use crate::link::blocking::Connection;

/// Pooled calls by the broker's number, each with what tells it that its caller has stopped waiting.
#[derive(Default)]
pub(super) struct Running {
    calls: Mutex<HashMap<u64, CancelToken>>,
    emptied: Condvar,
}

impl Running {
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
        if calls.is_empty() {
            self.emptied.notify_all();
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

    /// Waits until all are answered, or until a time.
    pub(super) fn wait_until_empty(&self, until: Instant) {
        let mut calls = self.calls();
        while !calls.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            (calls, _) = self.emptied.wait_timeout(calls, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<u64, CancelToken>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
