//! Measures what an event costs beside many subscriptions to other topics, and beside many to its own.
//!
//! `taskset -c 0 cargo bench -p ipc-tests --bench topics`. docs/performance.md explains the rows.
#![forbid(unsafe_code)]

use std::time::Instant;

use ipc_protocol::{Encoding, Event, Message, Routing, control};
use ipc_tests::{
    bench::{Table, median},
    broker::Broker,
    peer::Peer,
};

/// Events of one measurement, and measurements of each row, of which the median is shown.
const EVENTS: u64 = 20_000;
const ROUNDS: usize = 5;
/// Subscriptions of one connection.
const EACH: usize = 500;

fn main() {
    let broker = Broker::with_config("[limits]\nbytes_per_uid = 1000000000\nbytes_total = 2000000000\n");
    let mut table = Table::new(["an event of 64 B to a subscription", "us", "ratio"]);
    let mut publisher = Publisher::new(&broker);
    let alone = publisher.measure();
    table.push(["alone".to_owned(), format!("{alone:.2}"), "1.00".to_owned()]);
    let mut others = Vec::new();
    for foreign in [1_000, 10_000, 100_000] {
        while others.len() * EACH < foreign {
            others.push(subscriber(&broker, others.len()));
        }
        let us = publisher.measure();
        table.push([format!("beside {foreign} to other topics"), format!("{us:.2}"), format!("{:.2}", us / alone)]);
    }
    println!("{table}");
}

/// A connection with many subscriptions to topics of its own.
fn subscriber(broker: &Broker, number: usize) -> Peer {
    let mut peer = Peer::connect(broker);
    for at in 0..EACH {
        subscribe(&mut peer, &format!("other.t{number}.n{at}"));
    }
    peer
}

fn subscribe(peer: &mut Peer, pattern: &str) {
    let request = serde_json::json!({ "pattern": pattern });
    let _: control::Subscribed = peer.ask("subscribe", &request);
}

/// A connection that receives the events that it publishes, one at a time.
struct Publisher {
    peer: Peer,
    id: u64,
}

impl Publisher {
    fn new(broker: &Broker) -> Self {
        let mut peer = Peer::connect(broker);
        subscribe(&mut peer, "bench.event");
        Self { peer, id: 1_000 }
    }

    /// Microseconds from an event to its receipt.
    fn measure(&mut self) -> f64 {
        median((0..=ROUNDS).map(|_| self.round()).skip(1).collect()).unwrap_or_default()
    }

    fn round(&mut self) -> f64 {
        let began = Instant::now();
        for _ in 0..EVENTS {
            self.id += 1;
            let event = Event {
                id: self.id,
                one_way: true,
                retained: false,
                encoding: Encoding::BYTES,
                publisher: bytes::Bytes::new(),
                routing: Routing::on("bench.event").build(),
                body: vec![b'x'; 64].into(),
            };
            self.peer.send(&Message::Event(event));
            assert!(matches!(self.peer.receive(), Some(Message::Event(_))), "the event comes back");
        }
        began.elapsed().as_secs_f64() * 1e6 / f64::from(u32::try_from(EVENTS).unwrap_or(u32::MAX))
    }
}
