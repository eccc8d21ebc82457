//! `ipcctl bench`: what a call costs through the running broker.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use ipc_client::{
    Client, Context, Error, Incoming, PendingBytes, Request, Response, Service, Serving, Target, control::Empty,
};
use serde::Serialize;

use crate::{
    exit::Exit,
    format::Format,
    globals::Globals,
    number::within,
    out,
    problem::{Problem, Result},
    table::{self, Cell},
};

/// Measure calls through the running broker: latency and rate.
///
/// A service that returns what it is sent, and one caller, both in this process. The figures depend on where the scheduler puts the
/// two and the broker: pin all to one CPU (taskset -c 0) to compare two runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ipcctl bench                    # one call after the other\n  \
    ipcctl bench --window 64        # 64 calls under way at any time")]
pub(crate) struct Args {
    /// Bytes of a body, there and back
    #[arg(long, default_value_t = 64, value_name = "BYTES", value_parser = |text: &str| within(text, 0..=1_000_000_u32))]
    size: u32,

    /// Calls under way at any time
    #[arg(long, default_value_t = 1, value_name = "CALLS", value_parser = |text: &str| within(text, 1..=1_024_u16))]
    window: u16,

    /// How long to measure; a tenth of that goes before as a warm-up
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = |text: &str| within(text, 1..=3_600_u32))]
    seconds: u32,
}

/// What was measured. Members are only ever added.
#[derive(Debug, Serialize)]
struct Report {
    size: u32,
    window: u16,
    seconds: f64,
    count: u64,
    rate: f64,
    p50_us: f64,
    p99_us: f64,
}

/// How long each call took, of the first million.
#[derive(Debug, Default)]
struct Samples {
    count: u64,
    micros: Vec<f32>,
}

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        if globals.is_inherited() {
            return Err(Problem::usage("bench", "an inherited descriptor is one connection, and two are needed"));
        }
        // -t holds before any thread waits.
        let answered = globals.connect("bench")?.try_ask::<_, Empty>("ping", &Empty {});
        answered.map_err(|error| Problem::from_error("bench", &error))?;
        let report = self.measure(globals)?;
        match globals.format {
            Format::Text => out::print(&table::render(&report.rows()))?,
            Format::Json => out::ndjson(&[report])?,
        }
        Ok(Exit::SUCCESS)
    }

    fn measure(&self, globals: &Globals) -> Result<Report> {
        let failed = |error: Error| Problem::from_error("bench", &error);
        let service = self.serve(globals)?;
        let target: Target = service.peer().to_string().parse().expect("a peer's number is a target");
        let body = vec![b'x'; self.size as usize];
        let request = Request::new(target, body).timeout(globals.deadline());
        let client = globals.client("bench", "bench")?;
        let length = Duration::from_secs(self.seconds.into());
        self.call_for(length / 10, &client, &request).map_err(failed)?;
        let began = Instant::now();
        let samples = self.call_for(length, &client, &request).map_err(failed)?;
        Ok(self.report(samples, began.elapsed()))
    }

    /// The service is called by its peer's number, so that it needs no name.
    fn serve(&self, globals: &Globals) -> Result<Serving> {
        let echo = |incoming: &Incoming, _: &Context| Ok(Response::new(incoming.encoding, incoming.body.clone()));
        let mut service = Service::anonymous().agent("ipcctl bench").window(self.window.into()).any(echo);
        if let Some(address) = globals.address()? {
            service = service.address(&address);
        }
        service.start().map_err(|error| Problem::from_error("bench", &error))
    }

    /// Keeps a window of calls under way for a while, and waits for their replies.
    fn call_for(&self, length: Duration, client: &Client, request: &Request) -> std::result::Result<Samples, Error> {
        let mut samples = Samples::default();
        let mut pending: VecDeque<(Instant, PendingBytes)> = VecDeque::with_capacity(self.window.into());
        let corked = (self.window > 1).then(|| client.cork());
        let began = Instant::now();
        let mut now = began;
        while now - began < length {
            while pending.len() < self.window.into() {
                pending.push_back((now, client.start_bytes(request.clone())?));
            }
            if let Some((began, call)) = pending.pop_front() {
                call.wait()?;
                now = samples.push(began);
            }
        }
        drop(corked);
        for (began, call) in pending {
            call.wait()?;
            samples.push(began);
        }
        Ok(samples)
    }

    fn report(&self, mut samples: Samples, elapsed: Duration) -> Report {
        samples.micros.sort_unstable_by(f32::total_cmp);
        let seconds = elapsed.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "an hour of calls is far from 2^52")]
        let rate = samples.count as f64 / seconds;
        let (p50_us, p99_us) = (samples.percentile(50), samples.percentile(99));
        Report { size: self.size, window: self.window, seconds, count: samples.count, rate, p50_us, p99_us }
    }
}

impl Samples {
    const KEPT: usize = 1 << 20;

    /// Takes a call that began then and ends now; returns now.
    fn push(&mut self, began: Instant) -> Instant {
        let now = Instant::now();
        self.count += 1;
        if self.micros.len() < Self::KEPT {
            self.micros.push((now - began).as_secs_f32() * 1e6);
        }
        now
    }

    /// The value that this many percent do not exceed; the samples are sorted.
    fn percentile(&self, percent: usize) -> f64 {
        self.micros.get(self.micros.len() * percent / 100).copied().unwrap_or_default().into()
    }
}

impl Report {
    fn rows(&self) -> Vec<Vec<Cell>> {
        let row =
            |name, value: f64, unit| vec![Cell::text(name), Cell::number(format!("{value:.1}")), Cell::text(unit)];
        vec![row("p50", self.p50_us, "us"), row("p99", self.p99_us, "us"), row("rate", self.rate, "calls/s")]
    }
}
