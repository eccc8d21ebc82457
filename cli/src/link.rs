//! The connection to the broker.

use std::time::{Duration, Instant};

use ipc_client::{Address, Client, Connect, Error, ErrorCode, control, limits::DEFAULT_TIMEOUT_MS};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    globals::Globals,
    problem::{Problem, Result},
};

/// Program and version, as the broker shows it to people.
pub(crate) const AGENT: &str = concat!("ipcctl/", env!("CARGO_PKG_VERSION"));

/// The variable in which `ipcctl run` tells its process id to what it runs, whose broker ends with it.
pub(crate) const PRIVATE: &str = "IPCD_PRIVATE";

/// How often a broker that is not there yet is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Globals {
    /// The address given by `-s`. Without it the library searches, and then trusts no stranger's socket.
    pub(crate) fn address(&self) -> Result<Option<Address>> {
        let parsed = self.socket.as_deref().map(Address::parse).transpose();
        parsed.map_err(|error| Problem::usage("", error.to_string()).hint("-s takes a path, @NAME or fd:N"))
    }

    /// How to connect to the broker.
    pub(crate) fn dial(&self) -> Result<Connect> {
        let dial = Client::builder().agent(AGENT);
        Ok(match self.address()? {
            Some(address) => dial.address(&address),
            None => dial,
        })
    }

    /// Connects to the broker. `subject` is what it is needed for.
    pub(crate) fn connect(&self, subject: &str) -> Result<Client> {
        self.dial()?.connect().map_err(|error| Problem::from_error(subject, &error))
    }

    /// How long an answer is waited for.
    pub(crate) fn deadline(&self) -> Duration {
        self.time.unwrap_or(Duration::from_millis(u64::from(DEFAULT_TIMEOUT_MS)))
    }

    /// Connects, and asks the broker's own service.
    pub(crate) fn ask<Q: Serialize, A: DeserializeOwned>(&self, operation: &str, request: &Q) -> Result<A> {
        let client = self.connect(operation)?;
        self.ask_over(&client, operation, request)
    }

    /// Asks the broker's own service over a connection.
    pub(crate) fn ask_over<Q: Serialize, A: DeserializeOwned>(
        &self,
        client: &Client,
        operation: &str,
        request: &Q,
    ) -> Result<A> {
        client.control(operation, request, self.time).map_err(|error| Problem::from_error(operation, &error))
    }
}

/// Connects as soon as there is a broker, and returns once `wanted` holds or `patience` runs out, with the error that says so.
/// A broker that goes away meanwhile is looked for again.
pub(crate) fn wait_for(
    dial: &Connect,
    wanted: &control::Wait,
    patience: Duration,
) -> std::result::Result<Client, Error> {
    let until = Instant::now() + patience;
    loop {
        let error = match wait_once(dial, wanted, until) {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        let is_absent = matches!(error.code(), ErrorCode::UNAVAILABLE | ErrorCode::BROKER_LOST);
        let left = until.saturating_duration_since(Instant::now());
        if !is_absent || left.is_zero() {
            return Err(error);
        }
        std::thread::sleep(LOOK_AGAIN.min(left));
    }
}

fn wait_once(dial: &Connect, wanted: &control::Wait, until: Instant) -> std::result::Result<Client, Error> {
    let client = dial.clone().connect()?;
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let control::Empty {} = client.control("wait", wanted, Some(left))?;
    Ok(client)
}
