//! A typed `add(i64, i64) -> i64` through ipc-client, in each way that it offers, and through the client libraries of other brokers, in
//! turns in one run. Broker, service and client are processes; those of the others run on a single-threaded tokio runtime.
//!
//! ```text
//! cargo run --release --manifest-path tests/libraries/Cargo.toml
//! ```
#![forbid(unsafe_code)]

mod dbus;
mod ipc;
mod library;
mod load;
mod nats;

use std::{error::Error, time::Duration};

use clap::Parser;
use ipc_tests::bench::{Machine, Placement, Table, median};

use crate::{
    library::{Library, Scene},
    load::Outcome,
};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Measures typed calls through client libraries, side by side.
#[derive(Parser)]
struct Options {
    /// The number of rounds. The libraries alternate, and the table shows medians.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Milliseconds for which each figure is measured in a round.
    #[arg(long, default_value_t = 400)]
    millis: u64,
    /// Run everything on this CPU.
    #[arg(long, default_value_t = 0)]
    cpu: usize,
    /// Measure only these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Library>,
    /// What a started process does.
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(clap::Subcommand)]
enum Role {
    /// Answers calls until it is killed.
    #[command(hide = true)]
    Serve { library: Library, address: String },
    /// Prints what it measured.
    #[command(hide = true)]
    Call { library: Library, address: String, millis: u64 },
}

fn main() -> Result<()> {
    let options = Options::parse();
    match &options.role {
        Some(Role::Serve { library, address }) => library.serve(address),
        Some(Role::Call { library, address, millis }) => {
            println!("{}", serde_json::to_string(&library.measure(address, Duration::from_millis(*millis))?)?);
            Ok(())
        }
        None => options.run(),
    }
}

impl Options {
    fn run(&self) -> Result<()> {
        Placement::One(self.cpu).enter()?;
        let mut columns = Vec::new();
        for library in Library::ALL.into_iter().filter(|one| self.only.is_empty() || self.only.contains(one)) {
            match Scene::set(library) {
                Ok(scene) => columns.push((library, scene, Vec::new())),
                Err(error) => println!("SKIP {}: {error}", library.title()),
            }
        }
        for round in 1..=self.rounds {
            for (library, scene, outcomes) in &mut columns {
                eprintln!("round {round}: {}", library.title());
                outcomes.push(scene.measure(*library, self.millis)?);
            }
        }
        let machine = Machine::this();
        println!(
            "{}, {}; everything on CPU {}; medians of {} rounds\n",
            machine.cpu, machine.kernel, self.cpu, self.rounds
        );
        let mut table = Table::new(["", "p50 us", "p99 us", "calls/s, 64 outstanding"]);
        for (library, _, outcomes) in &columns {
            let cell = |figure: fn(&Outcome) -> f64, decimals: usize| {
                median(outcomes.iter().map(figure).collect()).map_or_else(String::new, |it| format!("{it:.decimals$}"))
            };
            table.push([
                library.title().to_owned(),
                cell(|outcome| outcome.p50_us, 1),
                cell(|outcome| outcome.p99_us, 1),
                cell(|outcome| outcome.rate, 0),
            ]);
        }
        println!("{table}");
        Ok(())
    }
}
