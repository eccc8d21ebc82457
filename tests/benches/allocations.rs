//! Counts the allocations of a warm broker for a routed call: none. It checks a count and not a time, so `cargo test` runs it too.
//!
//! The count is that of the whole process. The threads of the client and the service do not allocate either.
#![forbid(unsafe_code)]

use std::{
    alloc::System,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::ExitCode,
    thread,
};

use ipc_protocol::transport::Address;
use ipc_tests::bench::{Metric, Steady, SteadyService, Table};
use ipcd::{Config, Server};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The number of counted calls in each row.
const CALLS: usize = 10_000;
/// Calls made first, so that every table, queue and buffer has reached its size.
const WARM_UP: usize = 10_000;

/// What is counted, and the number of allocations allowed.
const ROWS: [(&str, Metric, Option<usize>); 5] = [
    ("64 B, one outstanding", Metric::RoundTrip64, Some(0)),
    ("4 KiB, one outstanding", Metric::RoundTrip4k, Some(0)),
    ("64 B, 64 outstanding", Metric::Window64, Some(0)),
    // A turn with many connections can use up the read buffer, and pooled outboxes grow to the size that the service's needs.
    ("64 B, 64 connections x 1", Metric::Connections64, Some(CALLS / 20)),
    // A frame longer than one read is assembled in memory of its own.
    ("1 MiB, one outstanding", Metric::Bulk, None),
];

fn main() -> io::Result<ExitCode> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("socket");
    let (stop, stopped) = UnixStream::pair()?;
    let server = Server::bind(Config::new(Address::Path(socket.clone()))).map_err(io::Error::other)?;
    let broker = thread::spawn(move || server.run(OwnedFd::from(stopped)));
    let service = SteadyService::start(&socket)?;

    let mut table = Table::new(["calls through a warm broker", "calls", "allocations", "allowed"]);
    let mut within = true;
    for (title, metric, allowed) in ROWS {
        let mut clients = Steady::connect(&socket, metric)?;
        let (warm_up, calls) = if metric == Metric::Bulk { (100, 100) } else { (WARM_UP, CALLS) };
        clients.call(warm_up)?;
        let region = Region::new(ALLOCATOR);
        clients.call(calls)?;
        let change = region.change();
        let allocations = change.allocations + change.reallocations;
        within &= allowed.is_none_or(|allowed| allocations <= allowed);
        let allowed = allowed.map_or_else(|| "–".to_owned(), |allowed| allowed.to_string());
        table.push([title.to_owned(), calls.to_string(), allocations.to_string(), allowed]);
    }
    println!("{table}");

    service.stop()?;
    drop(stop);
    broker.join().expect("the broker does not panic")?;
    Ok(if within { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
