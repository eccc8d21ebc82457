//! A lock whose holder may find that others are to be woken: they are woken after its release, so that they do not run into it.

use std::{
    mem,
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What is kept under such a lock.
pub(super) trait Shared {
    /// Wakes a thread, or a future.
    type Waker;

    /// Those to be woken.
    fn to_wake(&mut self) -> &mut Vec<Self::Waker>;

    fn wake(waker: Self::Waker);
}

/// The lock. The guard is dropped before `wake`.
pub(super) struct Locked<'a, S: Shared> {
    state: MutexGuard<'a, S>,
    wake: WakeAtEnd<S>,
}

/// Woken when this is dropped.
struct WakeAtEnd<S: Shared>(Vec<S::Waker>);

impl<'a, S: Shared> Locked<'a, S> {
    /// Nothing under the lock panics on purpose; should it, the tables are still whole, for each is changed in one step.
    pub(super) fn new(state: &'a Mutex<S>) -> Self {
        Self { state: state.lock().unwrap_or_else(PoisonError::into_inner), wake: WakeAtEnd(Vec::new()) }
    }
}

impl<S: Shared> Deref for Locked<'_, S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.state
    }
}

impl<S: Shared> DerefMut for Locked<'_, S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.state
    }
}

impl<S: Shared> Drop for Locked<'_, S> {
    fn drop(&mut self) {
        if !self.state.to_wake().is_empty() {
            self.wake.0 = mem::take(self.state.to_wake());
        }
    }
}

impl<S: Shared> Drop for WakeAtEnd<S> {
    fn drop(&mut self) {
        self.0.drain(..).for_each(S::wake);
    }
}
