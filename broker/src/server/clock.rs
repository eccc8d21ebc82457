//! The only clock: read once a turn.

use rustix::time::{ClockId, clock_gettime};

use crate::core::Moment;

/// The time on CLOCK_MONOTONIC, which a change of the wall clock does not touch, and which every process of this boot shares.
pub(crate) fn now() -> Moment {
    let time = clock_gettime(ClockId::Monotonic);
    let micros = time.tv_sec * 1_000_000 + time.tv_nsec / 1_000;
    Moment(u64::try_from(micros).unwrap_or(0)) // it counts from the start of the machine
}
