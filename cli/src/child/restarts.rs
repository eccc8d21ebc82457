//! When to start a worker again.

use std::time::{Duration, Instant};

/// The time of the next start: now after a worker that did its work, in 100 ms to 5 s if workers keep failing.
#[derive(Debug)]
pub(crate) struct Restarts {
    /// Failures in a row.
    failures: u32,
    start_at: Instant,
    /// How the last worker ended, as in "the worker …".
    last: String,
}

impl Restarts {
    /// The first start is due now.
    pub(crate) fn new() -> Self {
        Self { failures: 0, start_at: Instant::now(), last: String::new() }
    }

    pub(crate) fn start_at(&self) -> Instant {
        self.start_at
    }

    /// Whether the next start is due.
    pub(crate) fn is_due(&self) -> bool {
        self.start_at <= Instant::now()
    }

    /// Whether a call should wait for the next start.
    pub(crate) fn is_due_soon(&self) -> bool {
        self.start_at <= Instant::now() + SOON
    }

    /// A worker that worked well has died.
    pub(crate) fn after_success(&mut self, end: &str) {
        self.failures = 0;
        self.at_once(end);
    }

    /// A worker was ended, and isn't to blame.
    pub(crate) fn at_once(&mut self, end: &str) {
        self.start_at = Instant::now();
        end.clone_into(&mut self.last);
    }

    /// A worker failed. The pause doubles each time.
    pub(crate) fn after_failure(&mut self, end: &str) {
        let delay = FIRST_DELAY.saturating_mul(1 << self.failures.min(16)).min(LONGEST_DELAY);
        self.failures = self.failures.saturating_add(1);
        self.start_at = Instant::now() + delay;
        end.clone_into(&mut self.last);
    }

    /// The error for a call that doesn't wait.
    pub(crate) fn excuse(&self) -> String {
        let left = self.start_at.saturating_duration_since(Instant::now());
        format!("the worker {}; it is started again in {} ms", self.last, left.as_millis())
    }
}

/// The pause after the first failure.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest pause, and so the longest wait for a worker that has been fixed.
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// A call waits this long for the next start.
const SOON: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_keeps_failing_is_started_less_and_less_often() {
        let mut restarts = Restarts::new();
        assert!(restarts.is_due());
        restarts.after_failure("exited with 1");
        assert!(!restarts.is_due() && restarts.is_due_soon());
        (0..10).for_each(|_| restarts.after_failure("exited with 1"));
        assert!(!restarts.is_due_soon());
        assert!(restarts.start_at() <= Instant::now() + LONGEST_DELAY);
        assert!(restarts.excuse().starts_with("the worker exited with 1; it is started again in "));
    }

    #[test]
    fn one_that_worked_well_is_started_again_at_once() {
        let mut restarts = Restarts::new();
        (0..10).for_each(|_| restarts.after_failure("exited with 1"));
        restarts.after_success("was killed by SIGKILL");
        assert!(restarts.is_due());
        restarts.after_failure("exited with 1");
        assert!(restarts.is_due_soon(), "the pauses begin anew");
    }
}
