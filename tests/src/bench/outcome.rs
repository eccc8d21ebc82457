//! What one client process measured.

use std::{io, time::Duration};

use serde::{Deserialize, Serialize};

use super::machine::cpu_time;

/// The result of one run of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Calls that ended.
    pub calls: u64,
    /// How long they took altogether.
    pub seconds: f64,
    /// Median of a single call, in microseconds; only where one call was outstanding on one connection.
    pub p50_us: Option<f64>,
    /// 99th percentile of a single call, in microseconds.
    pub p99_us: Option<f64>,
    /// CPU of the broker, microseconds a call.
    pub broker_cpu_us: f64,
    /// CPU of the service, microseconds a call.
    pub service_cpu_us: f64,
    /// CPU of the client, microseconds a call.
    pub client_cpu_us: f64,
}

/// CPU used so far by the processes of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    broker: Duration,
    service: Duration,
    client: Duration,
}

impl Outcome {
    /// Puts a run together; `latencies` are nanoseconds of single calls, or empty.
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

    /// Calls a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        float(self.calls) / self.seconds
    }
}

impl Usage {
    /// What the processes have used so far; a process that does not exist has used nothing.
    pub(super) fn now(broker: Option<u32>, service: Option<u32>) -> io::Result<Self> {
        let of = |pid: Option<u32>| pid.map_or(Ok(Duration::ZERO), cpu_time);
        Ok(Self { broker: of(broker)?, service: of(service)?, client: cpu_time(std::process::id())? })
    }
}

/// The median of some figures; `None` of none.
#[must_use]
pub fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_unstable_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 {
        return figures.get(middle).copied();
    }
    Some(f64::midpoint(*figures.get(middle.checked_sub(1)?)?, *figures.get(middle)?))
}

/// Counts of the benches are far below 2^52.
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
