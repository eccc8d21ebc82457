//! The only clock: read once a turn.

use nix::time::{ClockId, clock_gettime};

use crate::core::Moment;

/// The time on CLOCK_MONOTONIC, which a change of the wall clock does not touch, and which every process of this boot shares.
pub(crate) fn now() -> Moment {
    // It fails for a clock that the kernel does not have, and it has this one (clock_gettime(2)).
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC is always there");
    let micros = time.tv_sec() * 1_000_000 + time.tv_nsec() / 1_000;
    Moment(u64::try_from(micros).unwrap_or(0)) // it counts from the start of the machine
}
