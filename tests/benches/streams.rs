//! Measures streams through the broker with the client library: up and down, in items of three lengths, sent one by one and together.
//!
//! `taskset -c 0 cargo bench -p ipc-tests --bench streams`. docs/performance.md explains the rows.
#![forbid(unsafe_code)]

use std::time::Instant;

use bytes::Bytes;
use ipc_client::{Client, Encoding, Error, Request, Response, Service, SinkBytes, StreamCallBytes, Streams, Target};
use ipc_tests::{
    bench::{Table, median},
    broker::Broker,
};

/// Lengths of items, and how many of them are sent in one measurement.
const ROWS: [(usize, usize); 4] = [(64, 100_000), (4_096, 20_000), (65_536, 4_000), (262_144, 1_000)];
const ROUNDS: usize = 3;
/// Items that are sent together.
const TOGETHER: usize = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = Broker::start();
    let address = broker.address();
    let service = Service::new("pipe").address(&address).any_stream(|call, items, sink, _| {
        if call.method == "down" {
            let plan = String::from_utf8_lossy(&call.body);
            send(Way::Down(sink), &plan)?;
        }
        let bytes = items.map(|item| item.map(|item| item.body.len())).sum::<Result<usize, _>>();
        Ok(Response::bytes(bytes.unwrap_or_default().to_string()))
    });
    let _serving = service.start()?;
    let client = Client::connect_to(&address)?;
    let mut table = Table::new(["items of", "way", "sent", "items/s", "MB/s"]);
    for (len, count) in ROWS {
        for (way, how) in [("up", "one by one"), ("up", "together"), ("down", "one by one"), ("down", "together")] {
            let plan = format!("{len} {count} {how}");
            let seconds = (0..ROUNDS).map(|_| measure(&client, way, &plan)).collect::<Result<Vec<_>, _>>()?;
            let seconds = median(seconds).unwrap_or(f64::INFINITY);
            let rate = f64::from(u32::try_from(count)?) / seconds;
            let bytes = rate * f64::from(u32::try_from(len)?) / 1e6;
            table.push([format!("{len} B"), way.into(), how.into(), format!("{rate:.0}"), format!("{bytes:.0}")]);
        }
    }
    println!("{table}");
    Ok(())
}

/// Who sends.
enum Way<'a> {
    Up(&'a mut StreamCallBytes),
    Down(SinkBytes),
}

/// Seconds of one transfer.
fn measure(client: &Client, way: &str, plan: &str) -> Result<f64, Error> {
    let streams = Streams { request: way == "up", reply: way == "down" };
    let began = Instant::now();
    let mut call = client.stream_bytes(
        Request::new(format!("pipe.{way}").parse::<Target>().expect("a good target"), plan.to_owned()),
        streams,
    )?;
    if streams.request {
        send(Way::Up(&mut call), plan)?;
    }
    for item in call.by_ref() {
        item?;
    }
    call.end()?;
    Ok(began.elapsed().as_secs_f64())
}

fn send(mut way: Way<'_>, plan: &str) -> Result<(), Error> {
    let mut words = plan.splitn(3, ' ');
    let mut number = || words.next().and_then(|word| word.parse::<usize>().ok()).unwrap_or_default();
    let (len, count) = (number(), number());
    let is_together = words.next() == Some("together");
    let item = Bytes::from(vec![b'x'; len]);
    let group = vec![item; if is_together { TOGETHER.min(count) } else { 1 }];
    for _ in 0..count / group.len() {
        match (&mut way, is_together) {
            (Way::Up(call), true) => call.send_all(Encoding::BYTES, &group)?,
            (Way::Down(sink), true) => sink.send_all(Encoding::BYTES, &group)?,
            (Way::Up(call), false) => call.send(group[0].clone())?,
            (Way::Down(sink), false) => sink.send(Encoding::BYTES, group[0].clone())?,
        }
    }
    if let Way::Up(call) = way {
        call.finish();
    }
    Ok(())
}
