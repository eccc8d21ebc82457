//! The client library as a Rust program uses it, with typed calls to a typed service.

use std::{collections::VecDeque, io, path::Path, time::Instant};

use bytes::Bytes;
use ipc_client::{Address, CallError, Client, Method, Pending, Request, Response, Service, Target};
use serde::{Deserialize, Serialize};

use super::{
    dialect::Ipcd,
    echo::SHORT,
    load::{Budget, Ends, Tally, measure, timed},
    metric::Metric,
    outcome::Outcome,
    process::say_ready,
};

#[derive(Serialize, Deserialize)]
struct Add {
    a: i64,
    b: i64,
}

impl Method for Add {
    const SERVICE: &'static str = Ipcd::SERVICE;
    const METHOD: &'static str = "add";
    type Reply = i64;
    type Error = String;
}

#[derive(Serialize, Deserialize)]
struct Echo {
    body: Bytes,
}

impl Method for Echo {
    const SERVICE: &'static str = Ipcd::SERVICE;
    const METHOD: &'static str = "echo";
    type Reply = Bytes;
    type Error = String;
}

/// Answers typed calls until the broker ends or the process is killed.
pub(super) fn serve(socket: &Path) -> io::Result<()> {
    let serving = Service::new(Ipcd::SERVICE)
        .address(&Address::Path(socket.to_owned()))
        .window(Ipcd::WINDOW)
        .quick(|add: Add, _| Ok(add.a.wrapping_add(add.b)))
        .quick(|echo: Echo, _| Ok(echo.body))
        .any(|incoming, _| Ok(Response::bytes(incoming.body.slice(..SHORT.min(incoming.body.len())))))
        .start()
        .map_err(failed)?;
    say_ready()?;
    serving.wait().map_err(failed)
}

/// Runs a metric with one client.
pub(super) fn run(socket: &Path, metric: Metric, budget: &Budget) -> io::Result<Outcome> {
    let client = Client::connect_to(&Address::Path(socket.to_owned())).map_err(failed)?;
    match metric {
        Metric::RoundTrip64 | Metric::RoundTrip4k => {
            let request = Echo { body: Bytes::from(vec![b'x'; metric.size()]) };
            measure(budget, |ends| timed(ends, || client.call(&request).map(drop).map_err(failed)))
        }
        Metric::Add => {
            let request = Add { a: 1, b: 41 };
            measure(budget, |ends| timed(ends, || client.call(&request).map(drop).map_err(failed)))
        }
        Metric::Bulk => {
            let target: Target = format!("{}.take", Ipcd::SERVICE).parse().expect("the constant is a valid target");
            let request = Request::new(target, vec![b'x'; metric.size()]);
            measure(budget, |ends| timed(ends, || client.call_bytes(request.clone()).map(drop).map_err(failed)))
        }
        Metric::Window64 => measure(budget, |ends| window(&client, metric.window(), ends)),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Keeps `window` calls outstanding. Replies that came together are taken one by one, each followed by a new call. The new calls
/// are sent together when the next reply has to be waited for.
fn window(client: &Client, window: usize, ends: Ends) -> io::Result<Tally> {
    let mut tally = Tally::new(ends);
    let mut pending: VecDeque<Pending<Add>> = VecDeque::with_capacity(window);
    let corked = client.cork();
    while tally.goes_on(Instant::now()) {
        for _ in 0..window {
            if pending.len() == window {
                pending.pop_front().map_or(Ok(0), Pending::wait).map_err(failed)?;
                tally.calls += 1;
            }
            pending.push_back(client.start(Add { a: 1, b: 41 }).map_err(failed)?);
        }
    }
    drop(corked);
    pending.into_iter().try_for_each(|pending| pending.wait().map(drop).map_err(failed))?;
    Ok(tally)
}

fn failed(error: impl Into<CallError<String>>) -> io::Error {
    io::Error::other(error.into().to_string())
}
