//! `ipcctl bench`: what calls and connections cost through the running broker.

use std::{
    collections::VecDeque,
    fs,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ipc_client::{
    Address, Client, Connect, Encoding, Error, Method, PeerNumber, PendingBytes, Request, Service, Serving, Target,
};
use ipc_protocol::{
    codec,
    transport::{credentials, socket},
};
use serde::{Deserialize, Serialize};

use crate::{
    exit::Exit,
    format::Format,
    globals::Globals,
    link::AGENT,
    out,
    problem::{Problem, Result},
    table::{self, Cell},
};

/// Measure the running broker.
///
/// Latency stands or falls with where the scheduler puts the processes: pin both the broker and this command to one CPU
/// (taskset -c 0) to compare two runs. The broker's CPU is that of the whole process, so other traffic counts as well.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ipcctl bench call --window 64\n  ipcctl bench connect --seconds 5 -o json")]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Call an echo service of this command's own
    Call(Calls),
    /// Connect, shake hands, ask for one sign of life and disconnect
    Connect(Connects),
}

#[derive(Debug, clap::Args)]
struct Calls {
    /// Bytes of a body, there and back
    #[arg(long, default_value_t = 64, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    size: u32,

    /// Calls outstanding on each connection
    #[arg(long, default_value_t = 1, value_name = "CALLS", value_parser = clap::value_parser!(u32).range(1..=1_024))]
    window: u32,

    /// Connections that call, each from a thread of its own
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=512))]
    connections: u32,

    #[command(flatten)]
    time: Time,
}

#[derive(Debug, clap::Args)]
struct Connects {
    #[command(flatten)]
    time: Time,
}

#[derive(Debug, clap::Args)]
struct Time {
    /// How long to measure; a tenth of it goes before
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
}

/// What was measured. Members are only ever added.
#[derive(Debug, Serialize)]
struct Report {
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<u32>,
    seconds: f64,
    count: u64,
    rate: f64,
    p50_us: f64,
    p99_us: f64,
    /// Absent where the broker's process cannot be seen.
    broker_cpu_us: Option<f64>,
}

/// A call of the echo service. Its service is called by its peer's number, so that it needs no name.
#[derive(Serialize, Deserialize)]
struct Echo {
    body: Bytes,
}

impl Method for Echo {
    const SERVICE: &'static str = "bench";
    const METHOD: &'static str = "echo";
    type Reply = Bytes;
    type Error = String;
}

/// The broker that is measured.
#[derive(Debug)]
struct Broker {
    /// Where it is, if that was said.
    address: Option<Address>,
    dial: Connect,
}

/// When each operation of one thread began and how long it took.
#[derive(Debug, Default)]
struct Samples {
    count: u64,
    micros: Vec<f32>,
}

/// What all threads measured together.
#[derive(Debug)]
struct Measured {
    elapsed: Duration,
    cpu: Option<Duration>,
    samples: Samples,
}

impl Bench {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let broker = Broker { address: globals.address()?, dial: globals.dial()? };
        if matches!(broker.address, Some(Address::Fd(_))) {
            return Err(Problem::usage("bench", "an inherited descriptor is one connection, and more are needed"));
        }
        let measured = match &self.what {
            What::Call(calls) => calls.run(&broker),
            What::Connect(connects) => connects.run(&broker),
        };
        let report = measured.map_err(|error| Problem::from_error("bench", &error))?;
        match globals.format {
            Format::Text => out::print(&table::render(&report.rows()))?,
            Format::Json => out::ndjson(&[report])?,
        }
        Ok(Exit::SUCCESS)
    }
}

impl Calls {
    fn run(&self, broker: &Broker) -> std::result::Result<Report, Error> {
        let service = self.serve(broker)?;
        let request = self.request(service.peer());
        let connect = |_| broker.dial.clone().connect();
        let clients = (0..self.connections).map(connect).collect::<std::result::Result<Vec<_>, _>>()?;
        let measured = measure(broker, &clients, self.time.length(), |client, until| {
            call_until(client, &request, self.window as usize, until)
        })?;
        let report = Report::new("call", measured);
        Ok(Report { size: Some(self.size), window: Some(self.window), connections: Some(self.connections), ..report })
    }

    fn serve(&self, broker: &Broker) -> std::result::Result<Serving, Error> {
        let service = Service::anonymous().agent(AGENT).window(self.window * self.connections);
        let service = match &broker.address {
            Some(address) => service.address(address),
            None => service,
        };
        service.quick(|echo: Echo, _| Ok(echo.body)).start()
    }

    fn request(&self, service: PeerNumber) -> Request {
        let echo = Echo { body: Bytes::from(vec![b'x'; self.size as usize]) };
        let body = codec::encode(Encoding::BINCODE, &echo).expect("a megabyte at most is not too large");
        let target: Target = service.to_string().parse().expect("a peer's number is a target");
        let method = Echo::METHOD.parse().expect("a constant that is a method's name");
        Request::new(target, body).method(method).encoding(Encoding::BINCODE)
    }
}

impl Connects {
    fn run(&self, broker: &Broker) -> std::result::Result<Report, Error> {
        let measured = measure(broker, &[()], self.time.length(), |(), until| {
            let mut samples = Samples::default();
            let mut began = Instant::now();
            while began < until {
                broker.dial.clone().connect()?.ping()?; // connecting alone does not wait for the broker
                began = samples.push(began);
            }
            Ok(samples)
        })?;
        Ok(Report::new("connect", measured))
    }
}

impl Broker {
    /// Its process, unless that lives where it cannot be seen.
    fn pid(&self) -> Option<u32> {
        let uid = rustix::process::geteuid().as_raw();
        let from_environment = || Address::from_environment(|name| std::env::var_os(name), uid).ok();
        let address = self.address.clone().or_else(from_environment)?;
        let socket = socket::connect_stream(&address, Duration::from_secs(1)).ok()?;
        credentials::of_peer(socket.as_fd()).ok()?.pid
    }
}

impl Time {
    fn length(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds))
    }
}

impl Samples {
    /// Samples kept of one thread; the first so many.
    const KEPT: usize = 1 << 20;

    /// Takes what began then and ends now; returns now.
    fn push(&mut self, began: Instant) -> Instant {
        let now = Instant::now();
        self.count += 1;
        if self.micros.len() < Self::KEPT {
            self.micros.push((now - began).as_secs_f32() * 1e6);
        }
        now
    }

    fn join(mut self, other: Self) -> Self {
        self.count += other.count;
        self.micros.extend(other.micros);
        self
    }

    /// The value that so many percent do not exceed; the samples are sorted.
    fn percentile(&self, percent: usize) -> f64 {
        self.micros.get(self.micros.len() * percent / 100).copied().unwrap_or_default().into()
    }
}

impl Report {
    fn new(what: &'static str, mut measured: Measured) -> Self {
        measured.samples.micros.sort_unstable_by(f32::total_cmp);
        let count = measured.samples.count;
        #[expect(clippy::cast_precision_loss, reason = "nobody counts 2^52 calls")]
        let float = count as f64;
        Self {
            what,
            size: None,
            window: None,
            connections: None,
            seconds: measured.elapsed.as_secs_f64(),
            count,
            rate: float / measured.elapsed.as_secs_f64(),
            p50_us: measured.samples.percentile(50),
            p99_us: measured.samples.percentile(99),
            broker_cpu_us: measured.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / float),
        }
    }

    fn rows(&self) -> Vec<Vec<Cell>> {
        let row = |name: &str, value: Option<f64>, unit: &str| {
            let value = value.map(|value| format!("{value:.1}"));
            vec![Cell::text(name), Cell::optional(value), Cell::text(unit)]
        };
        vec![
            row("p50", Some(self.p50_us), "us"),
            row("p99", Some(self.p99_us), "us"),
            row("rate", Some(self.rate), &format!("{}s/s", self.what)),
            row("broker_cpu", self.broker_cpu_us, &format!("us/{}", self.what)),
        ]
    }
}

/// Runs the same on a thread for each subject, for a tenth of the time first, and then for the record.
fn measure<S: Sync>(
    broker: &Broker,
    subjects: &[S],
    length: Duration,
    run: impl Fn(&S, Instant) -> std::result::Result<Samples, Error> + Sync,
) -> std::result::Result<Measured, Error> {
    let pid = broker.pid();
    let on_threads = |until: Instant| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = subjects.iter().map(|subject| scope.spawn(|| run(subject, until))).collect();
            let samples =
                threads.into_iter().map(|thread| thread.join().expect("a thread of the bench does not panic"));
            samples.reduce(|a, b| Ok(a?.join(b?))).expect("there is at least one subject")
        })
    };
    on_threads(Instant::now() + length / 10)?;
    let before = pid.and_then(cpu_time);
    let began = Instant::now();
    let samples = on_threads(began + length)?;
    let elapsed = began.elapsed();
    let after = pid.and_then(cpu_time);
    let cpu = before.zip(after).map(|(before, after)| after.saturating_sub(before));
    Ok(Measured { elapsed, cpu, samples })
}

/// Keeps so many calls outstanding until then, and waits for their replies.
fn call_until(
    client: &Client,
    request: &Request,
    window: usize,
    until: Instant,
) -> std::result::Result<Samples, Error> {
    let mut samples = Samples::default();
    let mut pending: VecDeque<(Instant, PendingBytes)> = VecDeque::with_capacity(window);
    let mut now = Instant::now();
    let corked = (window > 1).then(|| client.cork());
    while now < until {
        while pending.len() < window {
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

/// CPU that all threads of a process have used: the first figure of /proc/PID/task/*/schedstat, in nanoseconds.
fn cpu_time(pid: u32) -> Option<Duration> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        sum += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(sum))
}
