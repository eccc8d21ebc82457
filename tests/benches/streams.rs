//! Measures streams: an upload through the broker with the client library, in items of three lengths.
//!
//! `taskset -c 0 cargo bench -p ipc-tests --bench streams`. docs/performance.md explains the rows.
#![forbid(unsafe_code)]

use std::time::Instant;

use ipc_client::{Client, Request, Response, Service, Streams, Target};
use ipc_tests::{
    bench::{Table, median},
    broker::Broker,
};

/// Lengths of items, and how many of them are sent in one measurement.
const ROWS: [(usize, usize); 3] = [(64, 200_000), (4_096, 50_000), (65_536, 8_000)];
const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = Broker::start();
    let address = broker.address();
    let service = Service::new("drain").address(&address).any_stream(|_, items, _, _| {
        let bytes = items.map(|item| item.map(|item| item.body.len())).sum::<Result<usize, _>>()?;
        Ok(Response::bytes(bytes.to_string()))
    });
    let _serving = service.start()?;
    let client = Client::connect_to(&address)?;
    let target = Target::parse("drain")?;
    let mut table = Table::new(["an upload, in items of", "items/s", "MB/s"]);
    for (len, count) in ROWS {
        let upload = || -> Result<f64, ipc_client::Error> {
            let (body, began) = (bytes::Bytes::from(vec![b'x'; len]), Instant::now());
            let request = Request::new(target.clone(), "");
            let mut call = client.stream_bytes(request, Streams { request: true, reply: false })?;
            for _ in 0..count {
                call.send(body.clone())?;
            }
            call.end()?;
            Ok(began.elapsed().as_secs_f64())
        };
        let seconds = (0..ROUNDS).map(|_| upload()).collect::<Result<Vec<_>, _>>()?;
        let seconds = median(seconds).unwrap_or(f64::INFINITY);
        let rate = f64::from(u32::try_from(count)?) / seconds;
        let bytes = rate * f64::from(u32::try_from(len)?) / 1e6;
        table.push([format!("{len} B"), format!("{rate:.0}"), format!("{bytes:.0}")]);
    }
    println!("{table}");
    Ok(())
}
