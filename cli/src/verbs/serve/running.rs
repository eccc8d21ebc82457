//! The number of calls that are being answered.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A count to wait for.
#[derive(Debug, Default)]
pub(crate) struct Running {
    count: Mutex<usize>,
    changed: Condvar,
}

/// Counts as a call while it lives.
#[derive(Debug)]
pub(crate) struct Entry<'a>(&'a Running);

impl Running {
    /// Counts a call.
    pub(crate) fn enter(&self) -> Entry<'_> {
        *self.count() += 1;
        Entry(self)
    }

    /// Waits until no call is being answered.
    pub(crate) fn wait_until_none(&self) {
        let mut count = self.count();
        while *count > 0 {
            count = self.changed.wait(count).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn count(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        *self.0.count() -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_the_last_call() {
        let running = Running::default();
        std::thread::scope(|scope| {
            let (first, second) = (running.enter(), running.enter());
            scope.spawn(|| (drop(first), drop(second)));
            running.wait_until_none();
        });
        assert_eq!(*running.count(), 0);
    }
}
