//! Typed calls by a thread and by a future on a runtime of one thread, in turns in one run: `taskset -c 0 cargo bench -p ipc-client
//! --features tokio --bench futures`. The broker and the service are threads of this process.
#![forbid(unsafe_code)]

use std::{
    collections::VecDeque,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use ipc_client::{Address, AsyncClient, AsyncRemote, AsyncService, Client, Method, Service};
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

#[derive(Serialize, Deserialize)]
struct Double(u32);

impl Method for Double {
    const SERVICE: &'static str = "double";
    const METHOD: &'static str = "";
    type Reply = u32;
    type Error = std::convert::Infallible;
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let address = Address::Path(directory.path().join("s"));
    let (_stop, stopped) = UnixStream::pair()?;
    let broker = ipcd::Server::bind(ipcd::Config::new(address.clone()))?;
    std::thread::spawn(move || broker.run(stopped.into()));
    let _quick = Service::new("double").address(&address).quick(|of: Double, _| Ok(of.0 * 2)).start()?;

    let blocking = Client::connect_to(&address)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let client = runtime.block_on(AsyncClient::connect_to(&address))?;
    let [mut of_threads, mut of_futures] = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        of_threads.extend(times(|| blocking.call(&Double(2)).map(drop).expect("the service is there")));
        of_futures.extend(runtime.block_on(lone(&AsyncRemote::new(&client))));
    }
    let (thread, future) = (median(of_threads), median(of_futures));
    println!("lone call, p50:   thread {thread:?}, future {future:?}, {:.2} times", ratio(future, thread));

    let [mut of_threads, mut of_futures] = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        of_threads.push(piped(&blocking));
        of_futures.push(piped_futures(&runtime, &AsyncRemote::new(&client)));
    }
    let (thread, future) = (median(of_threads), median(of_futures));
    println!(
        "64 outstanding:   thread {:.0}/s, future {:.0}/s, {:.2} times as long",
        rate(thread),
        rate(future),
        ratio(future, thread)
    );

    let service = |name| AsyncService::new(name).address(&address);
    let of_tasks = service("of.tasks").method(|of: Double, _| async move { Ok(of.0 * 2) });
    let quick = service("quick").quick(|of: Double, _| Ok(of.0 * 2));
    let _served =
        runtime.block_on(async { Ok::<_, ipc_client::Error>((of_tasks.start().await?, quick.start().await?)) })?;
    let [of_tasks, quick] = ["of.tasks", "quick"].map(|name| AsyncRemote::new(&client).named(name));
    let [mut by_tasks, mut at_once] = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        by_tasks.push(piped_futures(&runtime, &of_tasks));
        at_once.push(piped_futures(&runtime, &quick));
    }
    let (task, quick) = (median(by_tasks), median(at_once));
    println!(
        "async service on the same runtime, 64 outstanding: a task each {:.0}/s, quick {:.0}/s",
        rate(task),
        rate(quick)
    );
    Ok(())
}

fn times(mut call: impl FnMut()) -> Vec<Duration> {
    let time = |_| {
        let begun = Instant::now();
        call();
        begun.elapsed()
    };
    (0..CALLS).map(time).collect()
}

/// The times of calls one after the other.
async fn lone(double: &AsyncRemote) -> Vec<Duration> {
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let begun = Instant::now();
        double.call(&Double(2)).await.expect("the service is there");
        times.push(begun.elapsed());
    }
    times
}

/// The time of a call among 64, gathered as the library's users do it.
fn piped(client: &Client) -> Duration {
    let begun = Instant::now();
    for _ in 0..CALLS / OUTSTANDING {
        let corked = client.cork();
        let started: Vec<_> = (0..OUTSTANDING).map(|_| client.start(Double(2)).expect("it leaves")).collect();
        drop(corked);
        for call in started {
            call.wait().expect("the service is there");
        }
    }
    begun.elapsed() / u32::try_from(CALLS).unwrap_or(u32::MAX)
}

fn piped_futures(runtime: &Runtime, double: &AsyncRemote) -> Duration {
    let begun = Instant::now();
    runtime.block_on(async {
        for _ in 0..CALLS / OUTSTANDING {
            let mut started = VecDeque::with_capacity(OUTSTANDING);
            for _ in 0..OUTSTANDING {
                started.push_back(double.start(Double(2)).await.expect("it leaves"));
            }
            for call in started {
                call.wait().await.expect("the service is there");
            }
        }
    });
    begun.elapsed() / u32::try_from(CALLS).unwrap_or(u32::MAX)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn rate(time: Duration) -> f64 {
    1.0 / time.as_secs_f64()
}

const ROUNDS: usize = 15;
const CALLS: usize = 64 * 100;
const OUTSTANDING: usize = 64;
