//! Makes a known number of calls while a tool observes the broker. `calls SOCKET METRIC COUNT` connects an echo service and its
//! clients, makes COUNT calls as METRIC demands (`round-trip64`, `window64`, …), and ends. Used by
//! `tests/benches/instructions.sh`.
#![forbid(unsafe_code)]

use std::{io, path::Path};

use clap::ValueEnum;
use ipc_tests::bench::{Metric, Steady, SteadyService};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, socket, metric, count] = &arguments[..] else { panic!("usage: calls SOCKET METRIC COUNT") };
    let socket = Path::new(socket);
    let metric = Metric::from_str(metric, false).expect("METRIC is one of the bench's metrics, in kebab-case");
    let count: usize = count.parse().expect("COUNT is a number");

    let service = SteadyService::start(socket)?;
    let mut clients = Steady::connect(socket, metric)?;
    clients.call(count)?;
    drop(clients);
    service.stop()
}
