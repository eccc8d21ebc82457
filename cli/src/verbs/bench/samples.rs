//! How long things took.

use std::time::Instant;

/// How long each took, of the first million.
#[derive(Debug, Default)]
pub(super) struct Samples {
    pub(super) count: u64,
    micros: Vec<f32>,
}

impl Samples {
    const KEPT: usize = 1 << 20;

    /// Takes what began then and ends now; returns now.
    pub(super) fn push(&mut self, began: Instant) -> Instant {
        let now = Instant::now();
        self.count += 1;
        if self.micros.len() < Self::KEPT {
            self.micros.push(now.saturating_duration_since(began).as_secs_f32() * 1e6);
        }
        now
    }

    /// The values that half of them, and 99 percent, do not exceed.
    pub(super) fn p50_and_p99(&mut self) -> (f64, f64) {
        self.micros.sort_unstable_by(f32::total_cmp);
        (self.percentile(50), self.percentile(99))
    }

    fn percentile(&self, percent: usize) -> f64 {
        self.micros.get(self.micros.len() * percent / 100).copied().unwrap_or_default().into()
    }
}
