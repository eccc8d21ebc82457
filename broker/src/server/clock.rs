//! The only clock, which is read once per turn.

use nix::time::{ClockId, clock_gettime};

use crate::core::Moment;

/// The time on CLOCK_MONOTONIC, which does not follow the wall clock and is the same for every process of this boot.
pub(crate) fn now() -> Moment {
    // It only fails for a clock that the kernel does not have (clock_gettime(2)).
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC is always there");
    let micros = time.tv_sec() * 1_000_000 + time.tv_nsec() / 1_000;
    Moment(u64::try_from(micros).unwrap_or(0)) // the clock starts at 0 at boot
}
