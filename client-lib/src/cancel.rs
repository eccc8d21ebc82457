//! Tells a running call that its caller has stopped waiting, and ends what it has called itself.

use std::{
    fmt,
    num::NonZeroU64,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ipc_protocol::{ErrorCode, Retry};

use crate::{
    error::{Error, Result},
    line::gone,
    link::blocking::{Connection, Departure},
    session::{Outgoing, Patience, Serial, patience::to_ms},
};

/// Whether a call was cancelled, and why. Cloning it shares it.
#[derive(Clone, Default)]
pub struct CancelToken(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The broker's number of the call, none for a call that nothing is made on behalf of.
    id: Option<NonZeroU64>,
    /// When the caller stops waiting, if it waits.
    deadline: Option<Instant>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    reason: Option<ErrorCode>,
    actions: Vec<Action>,
    /// Whether the method has returned.
    is_over: bool,
    /// Whether it has made calls of its own.
    has_nested: bool,
}

impl State {
    /// What a nested call ends with, once this one has ended.
    fn ended(&self) -> Option<ErrorCode> {
        self.reason.or(self.is_over.then_some(ErrorCode::CANCELLED))
    }
}

type Action = Box<dyn FnOnce(ErrorCode) + Send>;

impl CancelToken {
    /// The token of a delivered call.
    pub(crate) fn of_call(id: u64, deadline: Option<Instant>) -> Self {
        Self(Arc::new(Shared { id: NonZeroU64::new(id), deadline, ..Shared::default() }))
    }

    /// Sends a nested call, which has no more time than this one and ends with it. It is not sent on a new connection should this
    /// one be dead: this call has ended with it.
    ///
    /// # Errors
    /// What this call ended with, if it has; `broker_lost` if the connection takes no more; as [`Connection::submit`].
    pub(crate) fn submit(
        &self,
        connection: &Connection,
        now: Instant,
        call: &Outgoing<'_>,
    ) -> Result<(Serial, Patience)> {
        let mut call = Outgoing { parent: self.0.id, ..call.clone() };
        if let Some(deadline) = self.0.deadline {
            let left = to_ms(deadline.saturating_duration_since(now));
            let wanted = if call.timeout_ms == 0 { connection.call_default_ms() } else { call.timeout_ms };
            if left < wanted {
                call.timeout_ms = left;
            }
        }
        self.enter()?;
        let Some(id) = connection.submit(&call, Departure::AtOnce, now)? else {
            return Err(gone(connection));
        };
        // It may have been cancelled before the nested call was in the table, and after it was entered here.
        let state = self.state();
        if let Some(reason) = state.ended() {
            self.end_nested(state, connection, reason);
        }
        Ok((id, Patience::new(now, call.timeout_ms)))
    }

    /// Says that a call is about to be made on behalf of this one.
    fn enter(&self) -> Result<()> {
        let mut state = self.state();
        state.has_nested = true;
        match state.ended() {
            None => Ok(()),
            Some(reason) => {
                let text = "the call that this one would be made for has ended; it was not sent";
                Err(Error::new(reason, text).with_retry(Retry::Safe))
            }
        }
    }

    /// The method has returned: what it has called and not waited for ends now.
    pub(crate) fn end(&self, connection: &Connection) {
        let mut state = self.state();
        state.is_over = true;
        self.end_nested(state, connection, ErrorCode::CANCELLED);
    }

    /// Marks the call as cancelled, ends what it has called, and runs what waits for that, outside the lock. The first reason stays.
    pub(crate) fn cancel(&self, connection: &Connection, reason: ErrorCode) {
        let mut state = self.state();
        if state.reason.is_some() {
            return;
        }
        state.reason = Some(reason);
        let actions = std::mem::take(&mut state.actions);
        self.end_nested(state, connection, reason);
        self.0.changed.notify_all();
        for action in actions {
            run(action, reason);
        }
    }

    fn end_nested(&self, state: MutexGuard<'_, State>, connection: &Connection, reason: ErrorCode) {
        let has_nested = state.has_nested;
        drop(state);
        if let Some(id) = self.0.id.filter(|_| has_nested) {
            connection.end_nested(id, reason);
        }
    }

    /// Whether the caller has stopped waiting.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.reason().is_some()
    }

    /// Why the caller has stopped waiting: `cancelled`, `deadline`, or `broker_lost`.
    #[must_use]
    pub fn reason(&self) -> Option<ErrorCode> {
        self.state().reason
    }

    /// Waits until the call is cancelled, up to `timeout`, and tells whether it is.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        let until = Instant::now().checked_add(timeout);
        let mut state = self.state();
        while state.reason.is_none() {
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            (state, _) = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Runs `action` when the call is cancelled, or at once if it is already. It runs on the thread that reads the connection:
    /// it must not block. A panic in it ends there.
    pub fn on_cancel(&self, action: impl FnOnce(ErrorCode) + Send + 'static) {
        let mut state = self.state();
        match state.reason {
            None => state.actions.push(Box::new(action)),
            Some(reason) => {
                drop(state);
                run(Box::new(action), reason);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reading thread must survive whatever the application put here; the panic hook has printed the message already.
fn run(action: Action, reason: ErrorCode) {
    let _ = catch_unwind(AssertUnwindSafe(|| action(reason)));
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancelToken").field(&self.reason()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::session::Role;

    fn connection() -> Connection {
        let (ours, _) = std::os::unix::net::UnixStream::pair().unwrap();
        Connection::new(ours.into(), "here".into(), "test", Role::Service)
    }

    #[test]
    fn an_action_runs_once_with_the_first_reason() {
        let (token, (tx, rx)) = (CancelToken::default(), mpsc::channel());
        token.on_cancel(move |reason| tx.send(reason).unwrap());

        token.cancel(&connection(), ErrorCode::DEADLINE);
        token.cancel(&connection(), ErrorCode::CANCELLED);

        assert_eq!(rx.iter().collect::<Vec<_>>(), [ErrorCode::DEADLINE]);
        assert_eq!(token.reason(), Some(ErrorCode::DEADLINE));
    }

    #[test]
    fn an_action_given_too_late_runs_at_once() {
        let (token, (tx, rx)) = (CancelToken::default(), mpsc::channel());
        token.cancel(&connection(), ErrorCode::CANCELLED);
        token.on_cancel(move |reason| tx.send(reason).unwrap());
        assert_eq!(rx.try_recv(), Ok(ErrorCode::CANCELLED));
    }

    #[test]
    fn a_panic_in_an_action_ends_there() {
        let token = CancelToken::default();
        token.on_cancel(|_| panic!("on purpose"));
        token.cancel(&connection(), ErrorCode::CANCELLED);
        assert!(token.is_cancelled());
    }

    #[test]
    fn waiting_ends_with_the_cancel_or_with_its_time() {
        let token = CancelToken::default();
        assert!(!token.wait(Duration::from_millis(1)));
        let waiting = token.clone();
        let thread = std::thread::spawn(move || waiting.wait(Duration::MAX));
        token.cancel(&connection(), ErrorCode::CANCELLED);
        assert!(thread.join().unwrap());
    }
}
