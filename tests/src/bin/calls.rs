//! A known number of calls, for a tool that looks at the broker meanwhile: `calls SOCKET METRIC COUNT` connects an echo service and
//! its clients, makes COUNT calls as METRIC (`round_trip64`, `window64`, …) says, and ends. `tests/benches/instructions.sh` runs it.
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
