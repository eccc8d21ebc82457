//! Time as the core sees it: a number that its caller passes in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point on CLOCK_MONOTONIC, in microseconds. The number means the same in every process of this boot, so that another process can
/// take over the state that contains it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    /// The moment `duration` later, or the last one.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }

    /// The moment `ms` milliseconds later, or the last one.
    #[must_use]
    pub(crate) fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1000)))
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The whole milliseconds from `earlier` to this moment; zero if `earlier` is later.
    #[inline]
    pub(crate) fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1000
    }

    /// The earlier of two moments, as far as there are any.
    #[must_use]
    #[inline]
    pub fn first(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, None) => one,
            (None, other) => other,
        }
    }

    /// The moment in milliseconds, rounded up so that a deadline never fires early.
    pub(crate) fn tick(self) -> u64 {
        self.0.div_ceil(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stops_at_its_end() {
        assert_eq!(Moment(u64::MAX).after(Duration::from_micros(1)), Moment(u64::MAX));
        assert_eq!(Moment(0).after(Duration::MAX), Moment(u64::MAX));
        assert_eq!(Moment(u64::MAX).tick(), u64::MAX / 1000 + 1);
    }

    #[test]
    fn nothing_is_earlier_than_itself() {
        assert_eq!(Moment(5).since(Moment(7)), Duration::ZERO);
        assert_eq!(Moment(u64::MAX).since(Moment(0)), Duration::from_micros(u64::MAX));
    }

    #[test]
    fn of_two_moments_the_earlier_one_is_first_and_any_is_earlier_than_none() {
        let (five, seven) = (Some(Moment(5)), Some(Moment(7)));
        for (one, other, first) in [(five, seven, five), (seven, five, five), (None, seven, seven), (five, None, five)]
        {
            assert_eq!(Moment::first(one, other), first);
        }
        assert_eq!(Moment::first(None, None), None);
    }

    #[test]
    fn a_tick_is_rounded_up() {
        assert_eq!([0, 1, 999, 1_000, 1_001].map(|micros| Moment(micros).tick()), [0, 1, 1, 1, 2]);
    }
}
