//! The connection to the broker: where it is, how long it may take, and what is asked over it.

use std::time::{Duration, Instant};

use ipc_client::{Address, Client, Connect, Error, ErrorCode, limits::DEFAULT_TIMEOUT_MS};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    globals::Globals,
    problem::{Problem, Result},
};

/// Program and version, as the broker shows it to people.
pub(crate) const AGENT: &str = concat!("ipcctl/", env!("CARGO_PKG_VERSION"));

/// The variable in which `ipcctl run` tells its process id to what it runs, whose broker ends with it.
pub(crate) const PRIVATE: &str = "IPCD_PRIVATE";

/// A connection for one verb, and the time that is left for all it does.
#[derive(Debug)]
pub(crate) struct Link<'a> {
    globals: &'a Globals,
    client: Client,
    until: Option<Instant>,
}

impl Globals {
    /// The address given by `-s`. Without it the library searches, and then trusts no stranger's socket.
    pub(crate) fn address(&self) -> Result<Option<Address>> {
        let parsed = self.socket.as_deref().map(Address::parse).transpose();
        parsed.map_err(|error| Problem::usage("", error.to_string()).hint("-s takes a path, @NAME or fd:N"))
    }

    /// Whether the broker is reached by a descriptor: that is one connection for good, and another cannot be made.
    pub(crate) fn is_inherited(&self) -> bool {
        let chosen = self.socket.clone().or_else(|| std::env::var_os("IPCD_SOCKET"));
        chosen.is_some_and(|socket| socket.to_str().is_some_and(|socket| socket.starts_with("fd:")))
    }

    /// How to connect to the broker. `verb` is what the list of peers shows for it.
    pub(crate) fn dial(&self, verb: &str) -> Result<Connect> {
        let mut dial = Client::builder().agent(&format!("ipcctl {verb}"));
        if let Some(time) = self.timeout() {
            dial = dial.patience(time);
        }
        Ok(match self.address()? {
            Some(address) => dial.address(&address),
            None => dial,
        })
    }

    /// Connects to the broker. `verb` is what for.
    pub(crate) fn connect(&self, verb: &str) -> Result<Link<'_>> {
        let until = self.timeout().map(|time| Instant::now() + time);
        Ok(Link { globals: self, client: self.client(verb, verb)?, until })
    }

    /// Connects to the broker, for calls of `subject`.
    pub(crate) fn client(&self, verb: &str, subject: &str) -> Result<Client> {
        let client = self.dial(verb)?.connect().map_err(|error| Problem::from_error(subject, &error))?;
        self.say(|| format!("connected to the broker at {}", self.place()));
        Ok(client)
    }

    /// How long an answer is waited for.
    pub(crate) fn deadline(&self) -> Duration {
        self.timeout().unwrap_or(Duration::from_millis(u64::from(DEFAULT_TIMEOUT_MS)))
    }

    /// Connects, and asks the broker's own service.
    pub(crate) fn ask<Q: Serialize, A: DeserializeOwned>(&self, operation: &str, request: &Q) -> Result<A> {
        self.connect(operation)?.ask(operation, request)
    }

    /// The same error, or what is behind it: a connection that was handed down serves one process, and a second one that says hello
    /// on it is cut.
    pub(crate) fn explained(&self, error: Error) -> Error {
        let text = match error.code() {
            ErrorCode::PROTOCOL => format!("{} is in use: it is one connection, for one process", self.place()),
            ErrorCode::BROKER_LOST => {
                format!("the connection {} has ended: it is a single one, for one process", self.place())
            }
            _ => return error,
        };
        if self.is_inherited() { Error::new(error.code(), text).with_retry(error.retry()) } else { error }
    }

    /// Where the broker is, for people.
    pub(crate) fn place(&self) -> String {
        let chosen =
            self.socket.clone().or_else(|| std::env::var_os("IPCD_SOCKET").filter(|socket| !socket.is_empty()));
        chosen.map_or_else(|| "the usual place".to_owned(), |socket| socket.display().to_string())
    }
}

impl Link<'_> {
    /// Asks the broker's own service.
    pub(crate) fn ask<Q: Serialize, A: DeserializeOwned>(&self, operation: &str, request: &Q) -> Result<A> {
        self.try_ask(operation, request).map_err(|error| Problem::from_error(operation, &error))
    }

    /// Asks the broker's own service, where an error is an answer too.
    pub(crate) fn try_ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        operation: &str,
        request: &Q,
    ) -> std::result::Result<A, Error> {
        self.client.control(operation, request, self.left()).map_err(|error| self.globals.explained(error))
    }

    /// The time that is left of `-t`; none if the broker's default holds.
    fn left(&self) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(Instant::now()))
    }
}

/// Where the next page begins. Pages are sorted, so one that does not go on would be asked for again and again.
pub(crate) fn further<T: Ord>(verb: &str, after: Option<T>, next: Option<T>) -> Result<Option<T>> {
    if next > after {
        return Ok(next);
    }
    Err(Problem::new(ErrorCode::PROTOCOL, verb, "the broker's answer leads back to an earlier part of it"))
}
