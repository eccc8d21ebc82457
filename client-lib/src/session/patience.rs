//! How long a call is waited for.

use std::time::{Duration, Instant};

use ipc_protocol::limits::MAX_TIMEOUT_MS;

/// The time that a call may take, from when it was started. A call that names none has the broker's default, which welcome says:
/// it may come after the call was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    since: Instant,
    /// As on the wire: 0 means the broker's default.
    timeout_ms: u32,
}

impl Patience {
    pub(crate) fn new(now: Instant, timeout_ms: u32) -> Self {
        Self { since: now, timeout_ms }
    }

    /// When the call is given up here, should the broker not keep its deadline.
    pub(crate) fn until(self, default_ms: u32) -> Instant {
        let timeout_ms = if self.timeout_ms == 0 { default_ms } else { self.timeout_ms };
        self.since + (Duration::from_millis(u64::from(timeout_ms)) + GRACE)
    }

    /// What another attempt may take. The broker's default begins anew: no time was named that it could overrun.
    pub(crate) fn rest(self, now: Instant) -> Self {
        let spent = now.saturating_duration_since(self.since);
        let timeout_ms = match self.timeout_ms {
            0 => 0,
            ms => to_ms(Duration::from_millis(u64::from(ms)).saturating_sub(spent)),
        };
        Self { since: now, timeout_ms }
    }

    pub(crate) fn timeout_ms(self) -> u32 {
        self.timeout_ms
    }
}

/// In the form of the wire: 0 means the default, so the shortest time is 1 ms; a part of a millisecond counts as a whole one.
pub(crate) fn to_ms(timeout: Duration) -> u32 {
    let ms = timeout.as_nanos().div_ceil(1_000_000);
    u32::try_from(ms).unwrap_or(u32::MAX).clamp(1, MAX_TIMEOUT_MS)
}

/// How much longer than the deadline a caller waits for the broker to say that it has passed.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_saturate() {
        assert_eq!(to_ms(Duration::ZERO), 1);
        assert_eq!(to_ms(Duration::from_micros(1_001)), 2);
        assert_eq!(to_ms(Duration::from_millis(u64::MAX)), MAX_TIMEOUT_MS);
        assert_eq!(to_ms(Duration::MAX), MAX_TIMEOUT_MS);
    }

    #[test]
    fn a_call_that_names_no_time_has_the_default_of_the_broker() {
        let now = Instant::now();
        assert_eq!(Patience::new(now, 0).until(90_000), now + Duration::from_secs(90) + GRACE);
        assert_eq!(Patience::new(now, 5).until(90_000), now + Duration::from_millis(5) + GRACE);
    }

    #[test]
    fn another_attempt_has_the_time_that_is_left() {
        let now = Instant::now();
        let later = now + Duration::from_millis(300);
        assert_eq!(Patience::new(now, 1_000).rest(later).timeout_ms(), 700);
        assert_eq!(Patience::new(now, 100).rest(later).timeout_ms(), 1);
        assert_eq!(Patience::new(now, 0).rest(later), Patience::new(later, 0));
    }
}
