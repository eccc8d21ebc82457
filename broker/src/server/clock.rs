//! The only clock: read once a turn.

use std::time::Instant;

use crate::core::Moment;

/// Counts from the start of the broker, on CLOCK_MONOTONIC: a change of the wall clock changes nothing.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment(0).after(self.start.elapsed())
    }
}
