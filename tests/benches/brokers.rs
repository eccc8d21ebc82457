//! Measures a call through brokers: a minimal relay as the floor, a socket pair without a broker, ipcd with its raw protocol and
//! with the client library, and the fastest other brokers if they are installed. Each run prints one table.
//!
//! `cargo bench -p ipc-tests --bench brokers -- --help` lists the options. docs/performance.md explains the table.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, io, path::PathBuf, time::Duration};

use clap::Parser;
use ipc_tests::bench::{
    Contender, Machine, Memory, Metric, Outcome, Placement, Role, Stage, Syscalls, Table, Tools, median,
};
use serde::Serialize;

/// Measures brokers side by side.
#[derive(Parser)]
struct Options {
    /// Measure one short round, to see whether everything works.
    #[arg(long)]
    quick: bool,
    /// The number of rounds. Contenders alternate, and the table shows medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds for which each metric is measured in a round.
    #[arg(long, default_value_t = 0.4)]
    seconds: f64,
    /// Print one JSON document with every round instead of the table.
    #[arg(long)]
    json: bool,
    /// Run everything on this CPU.
    #[arg(long, default_value_t = 0)]
    cpu: usize,
    /// Run the brokers on this CPU, and everything else on --cpu.
    #[arg(long)]
    broker_cpu: Option<usize>,
    /// Let the scheduler choose CPUs.
    #[arg(long, conflicts_with = "broker_cpu")]
    unpinned: bool,
    /// Measure only these contenders.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Contender>,
    /// Measure only these metrics.
    #[arg(long, value_delimiter = ',')]
    metrics: Vec<Metric>,
    /// The daemon to measure, instead of the one that cargo builds.
    #[arg(long)]
    ipcd: Option<PathBuf>,
    /// An argument for the daemon. May be repeated.
    #[arg(long, allow_hyphen_values = true)]
    ipcd_arg: Vec<String>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The results of a run.
#[derive(Serialize)]
struct Run {
    machine: Machine,
    placement: String,
    rounds: usize,
    seconds: f64,
    columns: Vec<Column>,
    skipped: Vec<&'static str>,
}

/// The results of one contender.
#[derive(Serialize)]
struct Column {
    contender: Contender,
    outcomes: BTreeMap<Metric, Vec<Outcome>>,
    memory: Option<Memory>,
    syscalls: Option<Syscalls>,
}

/// A row of the table.
struct Row {
    title: &'static str,
    metric: Metric,
    decimals: usize,
    figure: fn(&Outcome) -> Option<f64>,
}

fn main() -> io::Result<()> {
    if let Some(role) = Role::of_this_process() {
        return role.play();
    }
    let options = Options::parse();
    let run = options.run()?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&run)?);
    } else {
        run.print();
    }
    Ok(())
}

impl Options {
    fn run(&self) -> io::Result<Run> {
        let (rounds, seconds) = if self.quick { (1, 0.05) } else { (self.rounds, self.seconds) };
        let tools = Tools::find(self.ipcd.clone(), self.ipcd_arg.clone())?;
        let placement = self.placement();
        placement.enter()?;
        let stage = Stage::new(tools, placement, Duration::from_secs_f64(seconds))?;
        let (chosen, skipped): (Vec<_>, Vec<_>) = Contender::ALL
            .into_iter()
            .filter(|contender| self.only.is_empty() || self.only.contains(contender))
            .partition(|contender| contender.is_installed());
        let mut columns: Vec<Column> = chosen.into_iter().map(Column::new).collect();
        for round in 1..=rounds {
            for column in &mut columns {
                eprintln!("round {round}: {}", column.contender.title());
                column.measure(&stage, &self.metrics)?;
            }
        }
        for column in &mut columns {
            column.count(&stage)?;
        }
        let skipped = skipped.into_iter().filter_map(Contender::program).collect();
        Ok(Run { machine: Machine::this(), placement: format!("{placement}"), rounds, seconds, columns, skipped })
    }

    fn placement(&self) -> Placement {
        match (self.unpinned, self.broker_cpu) {
            (true, _) => Placement::Free,
            (false, None) => Placement::One(self.cpu),
            (false, Some(broker)) => Placement::Split(broker, self.cpu),
        }
    }
}

impl Column {
    fn new(contender: Contender) -> Self {
        Self { contender, outcomes: BTreeMap::new(), memory: None, syscalls: None }
    }

    fn measure(&mut self, stage: &Stage, chosen: &[Metric]) -> io::Result<()> {
        let mut metrics = Metric::ALL.to_vec();
        metrics.retain(|metric| self.contender.has(*metric) && (chosen.is_empty() || chosen.contains(metric)));
        for (metric, outcome) in stage.measure(self.contender, &metrics)? {
            self.outcomes.entry(metric).or_default().push(outcome);
        }
        Ok(())
    }

    fn count(&mut self, stage: &Stage) -> io::Result<()> {
        if self.contender.has_broker() {
            self.memory = Some(stage.memory(self.contender)?);
            self.syscalls = stage.syscalls(self.contender, Metric::RoundTrip64)?;
        }
        Ok(())
    }

    fn median(&self, row: &Row) -> Option<f64> {
        median(self.outcomes.get(&row.metric)?.iter().filter_map(row.figure).collect())
    }
}

impl Run {
    fn print(&self) {
        println!("{}, {}", self.machine.cpu, self.machine.kernel);
        println!("{}; medians of {} rounds of {} s; (ratio to the floor)\n", self.placement, self.rounds, self.seconds);
        let mut table = Table::new(std::iter::once("").chain(self.columns.iter().map(Column::title)));
        for row in ROWS {
            let floor = self.floor().and_then(|floor| floor.median(row));
            table.push(
                std::iter::once(row.title.to_owned())
                    .chain(self.columns.iter().map(|column| with_ratio(column.median(row), floor, row.decimals))),
            );
        }
        let mut counted = |title: &str, decimals: usize, figure: fn(&Column) -> Option<f64>| {
            table.push(
                std::iter::once(title.to_owned())
                    .chain(self.columns.iter().map(|column| plain(figure(column), decimals))),
            );
        };
        counted("broker syscalls a round trip", 1, |column| Some(column.syscalls.as_ref()?.total()));
        counted("idle RSS, KiB", 0, |column| column.memory.map(|memory| memory.idle()));
        counted("KiB an idle connection", 2, |column| column.memory.map(|memory| memory.connection_kib));
        println!("{table}");
        for column in &self.columns {
            if let Some(syscalls) = &column.syscalls {
                println!("syscalls, {}: {}", column.title(), syscalls.describe());
            }
        }
        self.skipped.iter().for_each(|program| println!("SKIP {program}: not installed"));
    }

    fn floor(&self) -> Option<&Column> {
        self.columns.iter().find(|column| column.contender == Contender::Floor)
    }
}

impl Column {
    fn title(&self) -> &'static str {
        self.contender.title()
    }
}

fn plain(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or_else(|| "–".to_owned(), |figure| format!("{figure:.decimals$}"))
}

fn with_ratio(figure: Option<f64>, floor: Option<f64>, decimals: usize) -> String {
    match (figure, floor) {
        (Some(figure), Some(floor)) if floor > 0.0 => format!("{figure:.decimals$} ({:.2})", figure / floor),
        _ => plain(figure, decimals),
    }
}

fn broker_cpu(outcome: &Outcome) -> Option<f64> {
    (outcome.broker_cpu_us > 0.0).then_some(outcome.broker_cpu_us)
}

const fn row(title: &'static str, metric: Metric, decimals: usize, figure: fn(&Outcome) -> Option<f64>) -> Row {
    Row { title, metric, decimals, figure }
}

const ROWS: &[Row] = &[
    row("64 B round trip, p50 us", Metric::RoundTrip64, 1, |outcome| outcome.p50_us),
    row("64 B round trip, p99 us", Metric::RoundTrip64, 1, |outcome| outcome.p99_us),
    row("4 KiB round trip, p50 us", Metric::RoundTrip4k, 1, |outcome| outcome.p50_us),
    row("4 KiB round trip, p99 us", Metric::RoundTrip4k, 1, |outcome| outcome.p99_us),
    row("typed add, p50 us", Metric::Add, 1, |outcome| outcome.p50_us),
    row("typed add, p99 us", Metric::Add, 1, |outcome| outcome.p99_us),
    row("broker CPU us a 64 B round trip", Metric::RoundTrip64, 2, broker_cpu),
    row("service CPU us a 64 B round trip", Metric::RoundTrip64, 2, |outcome| Some(outcome.service_cpu_us)),
    row("client CPU us a 64 B round trip", Metric::RoundTrip64, 2, |outcome| Some(outcome.client_cpu_us)),
    row("calls/s, 64 outstanding", Metric::Window64, 0, |outcome| Some(outcome.rate())),
    row("broker CPU us a call, 64 outstanding", Metric::Window64, 3, broker_cpu),
    row("calls/s, 64 connections x 1", Metric::Connections64, 0, |outcome| Some(outcome.rate())),
    row("calls/s, 512 connections x 1", Metric::Connections512, 0, |outcome| Some(outcome.rate())),
    row("deliveries/s, 16 processes, 1 in flight", Metric::Fan1, 0, |outcome| Some(outcome.rate() * 16.0)),
    row("deliveries/s, 16 processes, 64 in flight", Metric::Fan64, 0, |outcome| Some(outcome.rate() * 16.0)),
    row("broker CPU us a delivery, 64 in flight", Metric::Fan64, 3, |outcome| broker_cpu(outcome).map(|us| us / 16.0)),
    row("deliveries/s, 1 process, 64 in flight", Metric::To1, 0, |outcome| Some(outcome.rate())),
    row("deliveries/s, 10 processes, 64 in flight", Metric::To10, 0, |outcome| Some(outcome.rate() * 10.0)),
    row("deliveries/s, 100 processes, 64 in flight", Metric::To100, 0, |outcome| Some(outcome.rate() * 100.0)),
    row("deliveries/s, 1,000 processes, 64 in flight", Metric::To1000, 0, |outcome| Some(outcome.rate() * 1000.0)),
    row("MB/s, bodies of 1 MiB", Metric::Bulk, 0, |outcome| Some(outcome.rate() * 1.048_576)),
];
