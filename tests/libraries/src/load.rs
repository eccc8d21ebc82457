//! What a client process measures: one call at a time, and 64 outstanding.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The calls that are outstanding where there is more than one.
pub const OUTSTANDING: usize = 64;

/// The result of a client process.
#[derive(Serialize, Deserialize)]
pub struct Outcome {
    /// The median of single calls, in microseconds.
    pub p50_us: f64,
    /// Their 99th percentile.
    pub p99_us: f64,
    /// Calls a second with [`OUTSTANDING`] of them at a time.
    pub rate: f64,
}

/// Gathers an outcome.
pub struct Load {
    time: Duration,
    begun: Instant,
    latencies: Vec<Duration>,
    calls: usize,
}

impl Load {
    /// Each of the two parts is to take `time`. The warm-up is the caller's business.
    pub fn new(time: Duration) -> Self {
        Self { time, begun: Instant::now(), latencies: Vec::with_capacity(1 << 20), calls: 0 }
    }

    /// Whether the part goes on.
    pub fn goes_on(&self) -> bool {
        self.begun.elapsed() < self.time
    }

    /// A single call ended, which began at that moment.
    pub fn single(&mut self, begun: Instant) {
        self.latencies.push(begun.elapsed());
    }

    /// The second part begins.
    pub fn many(&mut self) {
        self.begun = Instant::now();
    }

    /// That many calls ended.
    pub fn ended(&mut self, calls: usize) {
        self.calls += calls;
    }

    /// The figures.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 calls")]
    pub fn outcome(mut self) -> Outcome {
        let rate = self.calls as f64 / self.begun.elapsed().as_secs_f64();
        self.latencies.sort_unstable();
        let percentile = |part: usize| {
            self.latencies.get(self.latencies.len() * part / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
        };
        Outcome { p50_us: percentile(50), p99_us: percentile(99), rate }
    }
}

/// One blocking call after another, then what keeps many outstanding for a round of them.
pub fn blocking(
    time: Duration,
    mut call: impl FnMut() -> crate::Result<()>,
    mut many: impl FnMut(usize) -> crate::Result<()>,
) -> crate::Result<Outcome> {
    (0..WARM_UP).try_for_each(|_| call())?;
    let mut load = Load::new(time);
    while load.goes_on() {
        let begun = Instant::now();
        call()?;
        load.single(begun);
    }
    load.many();
    while load.goes_on() {
        many(OUTSTANDING)?;
        load.ended(OUTSTANDING);
    }
    Ok(load.outcome())
}

/// The same with futures. Those of a round are polled together, as a program does that has 64 things to ask.
pub async fn awaited<F>(time: Duration, call: impl Fn() -> F) -> crate::Result<Outcome>
where
    F: Future<Output = crate::Result<()>>,
{
    for _ in 0..WARM_UP {
        call().await?;
    }
    let mut load = Load::new(time);
    while load.goes_on() {
        let begun = Instant::now();
        call().await?;
        load.single(begun);
    }
    load.many();
    while load.goes_on() {
        futures_util::future::try_join_all((0..OUTSTANDING).map(|_| call())).await?;
        load.ended(OUTSTANDING);
    }
    Ok(load.outcome())
}

const WARM_UP: usize = 1_000;
