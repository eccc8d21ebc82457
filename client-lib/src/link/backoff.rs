//! How long to wait before the next attempt to connect.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// A first pause, 50 ms unless said otherwise, doubled up to a longest one, 2 s. Each step is cut by up to half at random, so that the services of a broker that died do not all come
/// back in the same instant.
#[derive(Debug)]
pub(crate) struct Backoff {
    step: Duration,
    longest: Duration,
    seed: u64,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self::between(FIRST, LONGEST)
    }

    /// Pauses from `first` to `longest`.
    pub(crate) fn between(first: Duration, longest: Duration) -> Self {
        Self::with_seed(first, longest, RandomState::new().build_hasher().finish())
    }

    fn with_seed(first: Duration, longest: Duration, seed: u64) -> Self {
        Self { step: first.min(longest), longest, seed: seed | 1 }
    }

    /// The next wait.
    pub(crate) fn pause(&mut self) -> Duration {
        // xorshift64: the quality of the randomness does not matter here.
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        let step = self.step;
        self.step = step.saturating_mul(2).min(self.longest);
        let cut = u32::try_from(self.seed % 512).unwrap_or(0);
        step - (step / 1024).saturating_mul(cut)
    }
}

pub(crate) const FIRST: Duration = Duration::from_millis(50);
pub(crate) const LONGEST: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_two_seconds_and_keep_at_least_half_of_each_step() {
        let mut backoff = Backoff::with_seed(FIRST, LONGEST, 42);
        let pauses: Vec<Duration> = (0..12).map(|_| backoff.pause()).collect();
        assert!(pauses[0] >= FIRST / 2 && pauses[0] <= FIRST);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST));
        assert!(pauses[8..].iter().all(|pause| *pause >= LONGEST / 2));
    }

    #[test]
    fn two_seeds_give_two_rhythms() {
        assert_ne!(
            Backoff::with_seed(FIRST, LONGEST, 1).pause(),
            Backoff::with_seed(FIRST, LONGEST, 0xdead_beef).pause()
        );
    }
}
