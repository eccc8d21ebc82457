//! Waiting for what other processes do: the one place where a test sleeps.

use std::time::{Duration, Instant};

/// Returns as soon as the condition holds.
///
/// # Panics
/// If it does not hold within `patience`.
#[track_caller]
pub fn eventually(patience: Duration, what: &str, condition: impl FnMut() -> bool) {
    assert!(within(patience, condition), "not within {patience:?}: {what}");
}

/// Returns what `look` finds, as soon as it finds something.
///
/// # Panics
/// If it finds nothing within `patience`.
#[track_caller]
pub fn eventually_some<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    eventually(patience, what, || {
        found = look();
        found.is_some()
    });
    found.expect("it was found")
}

/// Whether the condition holds before `patience` is over.
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

/// How long anything may take that should take no time at all, on a machine that is busy with other things.
pub const SOON: Duration = Duration::from_secs(20);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);
