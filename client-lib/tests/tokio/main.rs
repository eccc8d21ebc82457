//! Clients and services on the runtime tokio: before a broker in this process, or before one that follows a script.
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod events;
mod locks;
mod pairs;
mod services;
mod streams;
mod traits;
mod untyped;

use std::{fs, future::Future, os::unix::net::UnixStream, time::Duration};

use ipc_client::{Address, AsyncClient, Method};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// `echo`: the number that was sent.
#[derive(Serialize, Deserialize)]
struct Echo(u64);

impl Method for Echo {
    const SERVICE: &'static str = "echo";
    const METHOD: &'static str = "";
    type Reply = u64;
    type Error = String;
}

/// A broker in this process.
struct Broker {
    directory: TempDir,
    _stop: UnixStream,
}

impl Broker {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (stop, stopped) = UnixStream::pair().unwrap();
        let broker = Self { directory, _stop: stop };
        let server = ipcd::Server::bind(ipcd::Config::new(broker.address())).unwrap();
        std::thread::spawn(move || server.run(stopped.into()));
        broker
    }

    fn address(&self) -> Address {
        Address::Path(self.directory.path().join("s"))
    }

    async fn client(&self) -> AsyncClient {
        AsyncClient::connect_to(&self.address()).await.unwrap()
    }
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Runs a test on one thread, and on two.
fn on_each<F: Future<Output = ()>>(test: impl Fn() -> F) {
    one_thread().block_on(within(test()));
    two_threads().block_on(within(test()));
}

/// A future that must end.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(common::PATIENCE, future).await.expect("it ends in time")
}

/// Memory of this process that is in use, in KiB.
fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4
}

/// What the calling thread has computed.
fn computed() -> Duration {
    let times = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(times.split(' ').next().unwrap().parse().unwrap())
}
