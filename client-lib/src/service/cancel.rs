//! Tells a running call that nobody waits for it any more.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ipc_protocol::ErrorCode;

/// Whether a call was cancelled, and why. Cloning it shares it.
#[derive(Clone, Default)]
pub struct CancelToken(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    reason: Option<ErrorCode>,
    actions: Vec<Action>,
}

type Action = Box<dyn FnOnce(ErrorCode) + Send>;

impl CancelToken {
    /// Marks the call as cancelled and runs what waits for that, outside the lock. The first reason stays.
    pub(crate) fn cancel(&self, reason: ErrorCode) {
        let mut state = self.state();
        if state.reason.is_some() {
            return;
        }
        state.reason = Some(reason);
        let actions = std::mem::take(&mut state.actions);
        drop(state);
        self.0.changed.notify_all();
        for action in actions {
            run(action, reason);
        }
    }

    /// Whether nobody waits for the call any more.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.reason().is_some()
    }

    /// Why nobody waits any more: `cancelled`, `deadline`, or `broker_lost`.
    #[must_use]
    pub fn reason(&self) -> Option<ErrorCode> {
        self.state().reason
    }

    /// Waits until the call is cancelled, at most `timeout` long, and tells whether it is.
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

    #[test]
    fn an_action_runs_once_with_the_first_reason() {
        let (token, (tx, rx)) = (CancelToken::default(), mpsc::channel());
        token.on_cancel(move |reason| tx.send(reason).unwrap());

        token.cancel(ErrorCode::DEADLINE);
        token.cancel(ErrorCode::CANCELLED);

        assert_eq!(rx.iter().collect::<Vec<_>>(), [ErrorCode::DEADLINE]);
        assert_eq!(token.reason(), Some(ErrorCode::DEADLINE));
    }

    #[test]
    fn an_action_given_too_late_runs_at_once() {
        let (token, (tx, rx)) = (CancelToken::default(), mpsc::channel());
        token.cancel(ErrorCode::CANCELLED);
        token.on_cancel(move |reason| tx.send(reason).unwrap());
        assert_eq!(rx.try_recv(), Ok(ErrorCode::CANCELLED));
    }

    #[test]
    fn a_panic_in_an_action_ends_there() {
        let token = CancelToken::default();
        token.on_cancel(|_| panic!("on purpose"));
        token.cancel(ErrorCode::CANCELLED);
        assert!(token.is_cancelled());
    }

    #[test]
    fn waiting_ends_with_the_cancel_or_with_its_time() {
        let token = CancelToken::default();
        assert!(!token.wait(Duration::from_millis(1)));
        let waiting = token.clone();
        let thread = std::thread::spawn(move || waiting.wait(Duration::MAX));
        token.cancel(ErrorCode::CANCELLED);
        assert!(thread.join().unwrap());
    }
}
