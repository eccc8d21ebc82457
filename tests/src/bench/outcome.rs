//! What one client process has measured.

use std::{io, time::Duration};

use serde::{Deserialize, Serialize};

use super::machine::cpu_time;

/// The result of one run of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The number of calls that ended.
    pub calls: u64,
    /// The time that they took together.
    pub seconds: f64,
    /// Median of single calls, in microseconds. Only where a single call was outstanding.
    pub p50_us: Option<f64>,
    /// 99th percentile of single calls, in microseconds.
    pub p99_us: Option<f64>,
    /// CPU time of the broker per call, in microseconds.
    pub broker_cpu_us: f64,
    /// CPU time of the service per call, in microseconds.
    pub service_cpu_us: f64,
    /// CPU time of the client per call, in microseconds.
    pub client_cpu_us: f64,
}

/// CPU time that the processes of a run have used so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    broker: Duration,
    service: Duration,
    client: Duration,
}

impl Outcome {
    /// The outcome of a run. `latencies` are those of single calls in nanoseconds, or none.
    pub(super) fn new(calls: u64, elapsed: Duration, before: Usage, after: Usage, latencies: &mut [u32]) -> Self {
        latencies.sort_unstable();
        let percentile = |part: usize| latencies.get(latencies.len() * part / 100).map(|ns| f64::from(*ns) / 1e3);
        let share = |before: Duration, after: Duration| (after - before).as_secs_f64() * 1e6 / float(calls);
        Self {
            calls,
            seconds: elapsed.as_secs_f64(),
            p50_us: percentile(50),
            p99_us: percentile(99),
            broker_cpu_us: share(before.broker, after.broker),
            service_cpu_us: share(before.service, after.service),
            client_cpu_us: share(before.client, after.client),
        }
    }

    /// Calls per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        float(self.calls) / self.seconds
    }
}

impl Usage {
    /// CPU time that the processes have used so far; none for a process that does not exist.
    pub(super) fn now(broker: Option<u32>, service: Option<u32>) -> io::Result<Self> {
        let of = |pid: Option<u32>| pid.map_or(Ok(Duration::ZERO), cpu_time);
        Ok(Self { broker: of(broker)?, service: of(service)?, client: cpu_time(std::process::id())? })
    }
}

/// The median, `None` without figures.
#[must_use]
pub fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_unstable_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 {
        return figures.get(middle).copied();
    }
    Some(f64::midpoint(*figures.get(middle.checked_sub(1)?)?, *figures.get(middle)?))
}

#[expect(clippy::cast_precision_loss, reason = "counts of the benches are far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_both_middles() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
