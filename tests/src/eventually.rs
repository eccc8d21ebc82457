//! Waiting for what other processes do: the one place where a test sleeps.

use std::time::{Duration, Instant};

/// Waits until the condition holds. Panics if it does not within `patience`.
#[track_caller]
pub fn eventually(patience: Duration, what: &str, condition: impl FnMut() -> bool) {
    assert!(within(patience, condition), "not within {patience:?}: {what}");
}

/// Waits until `look` finds something, and returns that. Panics if it finds nothing within `patience`.
#[track_caller]
pub fn eventually_some<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    eventually(patience, what, || {
        found = look();
        found.is_some()
    });
    found.expect("it was found")
}

/// Waits until the condition holds, and returns whether it did within `patience`.
pub fn within(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() >= patience {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Waits for a moment: the beat of a caller with a steady rate.
pub fn until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}

/// Time for what should be immediate, on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// Time between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(2);
