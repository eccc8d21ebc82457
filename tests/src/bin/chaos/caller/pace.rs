//! How fast a thread calls.

use std::time::{Duration, Instant};

use ipc_tests::eventually::within;

use crate::place::Halt;

/// Calls per second.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: u64,
    since: Instant,
    made: u64,
}

impl Pace {
    pub(crate) fn new(rate: u64) -> Self {
        Self { rate, since: Instant::now(), made: 0 }
    }

    /// How many calls are due. Those of a time in which there was no chance to call are left out.
    pub(crate) fn due(&mut self) -> u64 {
        let due =
            u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_mul(self.rate) / 1_000_000;
        if due.saturating_sub(self.made) > self.rate / 4 + 1 {
            *self = Self::new(self.rate);
            return 1;
        }
        due.saturating_sub(self.made)
    }

    /// Counts calls that were made.
    pub(crate) fn made(&mut self, calls: u64) {
        self.made += calls;
    }

    /// Waits until calls are due, and takes up to `most` of them; none once it is over.
    pub(crate) fn take(&mut self, most: u64, halt: &Halt) -> Option<u64> {
        let mut due = 0;
        within(Duration::from_secs(3_600), || {
            due = self.due().min(most);
            due > 0 || halt.is_asked()
        });
        self.made(due);
        (!halt.is_asked()).then_some(due)
    }
}
