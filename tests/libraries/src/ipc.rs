//! ipc-client: with a plain method, a trait, threads and futures. And the frames alone.

use std::{convert::Infallible, path::Path, time::Duration};

use ipc_client::{Address, AsRequest, AsyncClient, Client, Method, Pending, Service};
use ipc_tests::bench::{Metric, Steady, SteadyService};
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

use crate::{
    Result,
    library::{once_it_listens, say_ready},
    load::{Outcome, awaited, blocking},
};

/// Sums.
#[ipc_client::service(name = "calc")]
trait Calc {
    /// Where the call was read.
    #[quick]
    fn add(&self, a: i64, b: i64) -> i64;
    /// On the pool.
    fn sum(&self, a: i64, b: i64) -> i64;
}

/// Sums, by futures.
#[ipc_client::service(name = "async")]
trait Later {
    /// In a task.
    async fn add(&self, a: i64, b: i64) -> i64;
}

struct Machine;

impl Calc for Machine {
    fn add(&self, a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }

    fn sum(&self, a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }
}

impl Later for Machine {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }
}

#[derive(Serialize, Deserialize)]
struct Add {
    a: i64,
    b: i64,
}

impl Method for Add {
    const SERVICE: &'static str = "plain";
    const METHOD: &'static str = "add";
    type Reply = i64;
    type Error = Infallible;
}

fn at(address: &str) -> Address {
    Address::Path(address.into())
}

pub fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

pub fn serve_raw(address: &str) -> Result<()> {
    let _serving = once_it_listens(|| SteadyService::start(Path::new(address)));
    say_ready();
    std::thread::park();
    Ok(())
}

pub fn call_raw(address: &str, time: Duration) -> Result<Outcome> {
    let mut lone = Steady::connect(Path::new(address), Metric::RoundTrip64)?;
    let mut many = Steady::connect(Path::new(address), Metric::Window64)?;
    blocking(time, || Ok(lone.call(1)?), |calls| Ok(many.call(calls)?))
}

pub fn serve(address: &str) -> Result<()> {
    once_it_listens(|| Client::connect_to(&at(address)));
    let plain =
        Service::new("plain").address(&at(address)).quick(|add: Add, _| Ok(add.a.wrapping_add(add.b))).window(256);
    let _plain = plain.start()?;
    let serving = Calc::into_service(Machine).address(&at(address)).window(256).start()?;
    say_ready();
    Ok(serving.wait()?)
}

pub fn call_plain(address: &str, time: Duration) -> Result<Outcome> {
    let client = Client::connect_to(&at(address))?;
    let many = |calls| together(&client, calls, || client.start(Add { a: 1, b: 41 }));
    blocking(time, || Ok(client.call(&Add { a: 1, b: 41 }).map(drop)?), many)
}

pub fn call(address: &str, time: Duration) -> Result<Outcome> {
    call_by_trait(address, time, |calc| calc.add(1, 41), || CalcAdd { a: 1, b: 41 })
}

pub fn call_pool(address: &str, time: Duration) -> Result<Outcome> {
    call_by_trait(address, time, |calc| calc.sum(1, 41), || CalcSum { a: 1, b: 41 })
}

fn call_by_trait<Q: AsRequest>(
    address: &str,
    time: Duration,
    call: impl Fn(&CalcClient) -> ipc_client::Result<i64>,
    request: impl Fn() -> Q,
) -> Result<Outcome> {
    let sums = CalcClient::new(&Client::connect_to(&at(address))?);
    let many = |calls| together(sums.remote().client(), calls, || sums.remote().start(request()));
    blocking(time, || Ok(call(&sums).map(drop)?), many)
}

/// Starts calls, sends them together, and waits for each.
fn together<Q: AsRequest>(
    client: &Client,
    calls: usize,
    start: impl Fn() -> ipc_client::Result<Pending<Q>>,
) -> Result<()> {
    let corked = client.cork();
    let started = (0..calls).map(|_| start()).collect::<ipc_client::Result<Vec<_>>>()?;
    drop(corked);
    started.into_iter().try_for_each(|call| match call.wait() {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string().into()),
    })
}

pub fn call_with_futures(address: &str, time: Duration) -> Result<Outcome> {
    runtime()?.block_on(async {
        let calc = AsyncCalcClient::new(&AsyncClient::connect_to(&at(address)).await?);
        awaited(time, || async { Ok(calc.add(1, 41).await.map(drop)?) }).await
    })
}

pub fn serve_async(address: &str) -> Result<()> {
    once_it_listens(|| Client::connect_to(&at(address)));
    runtime()?.block_on(async {
        let serving = Later::into_service(Machine).address(&at(address)).window(256).start().await?;
        say_ready();
        Ok(serving.wait().await?)
    })
}

pub fn call_async(address: &str, time: Duration) -> Result<Outcome> {
    runtime()?.block_on(async {
        let later = AsyncLaterClient::new(&AsyncClient::connect_to(&at(address)).await?);
        awaited(time, || async { Ok(later.add(1, 41).await.map(drop)?) }).await
    })
}
