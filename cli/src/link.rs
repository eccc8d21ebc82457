//! The connection to the broker: where it is, how long it may take, and what is asked over it.

use std::{
    env,
    time::{Duration, Instant},
};

use ipc_client::{Address, Client, Connect, Error, ErrorCode, limits::DEFAULT_TIMEOUT_MS};
use rustix::process::geteuid;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    duration,
    globals::Globals,
    problem::{Problem, Result},
};

/// The variable in which `ipcctl run` tells its process id to what it runs, whose broker ends with it.
pub(crate) const PRIVATE: &str = "IPCD_PRIVATE";

/// A connection for one verb, with one time for all that the verb asks.
#[derive(Debug)]
pub(crate) struct Link<'a> {
    globals: &'a Globals,
    client: Client,
    began: Instant,
}

impl Globals {
    /// The address given by `-s`. Without it the library searches, and then trusts no stranger's socket.
    pub(crate) fn address(&self) -> Result<Option<Address>> {
        let parsed = self.socket.as_deref().map(Address::parse).transpose();
        parsed.map_err(|error| Problem::usage("", error.to_string()).hint("-s takes a path, @NAME or fd:N"))
    }

    /// Whether the broker is reached over an inherited descriptor: a single connection, which cannot be made again.
    pub(crate) fn is_inherited(&self) -> bool {
        let chosen = self.socket.clone().or_else(|| env::var_os("IPCD_SOCKET"));
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

    /// Connects to the broker, for `verb`.
    pub(crate) fn connect(&self, verb: &str) -> Result<Link<'_>> {
        let began = Instant::now();
        Ok(Link { globals: self, client: self.client(verb, verb)?, began })
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

    /// The same error, or what is behind it: an inherited connection serves one process, and the broker cuts it when a second one
    /// says hello on it. Which of the two reads the broker's reason is chance.
    pub(crate) fn explained(&self, error: Error) -> Error {
        let is_cut = matches!(error.code(), ErrorCode::PROTOCOL | ErrorCode::BROKER_LOST);
        if !is_cut || !self.is_inherited() {
            return error;
        }
        let text = format!("{} is in use or has ended: it is a single connection, for one process", self.place());
        Error::new(error.code(), text).with_retry(error.retry())
    }

    /// Where the broker is, for people.
    pub(crate) fn place(&self) -> String {
        let found = || Address::from_environment(|name| env::var_os(name), geteuid().as_raw());
        let address = self.socket.as_deref().map_or_else(found, Address::parse);
        address.map_or_else(|error| error.to_string(), |address| address.to_string())
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
        self.globals.say(|| format!("asking the broker: {operation}"));
        self.client.control(operation, request, self.left()).map_err(|error| self.globals.explained(error))
    }

    /// For calls.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a ping, which everyone may who may connect.
    pub(crate) fn ping(&self) -> Result<Duration> {
        self.globals.say(|| "pinging the broker".to_owned());
        let answered = match self.left() {
            Some(time) => self.client.ping_within(time),
            None => self.client.ping(),
        };
        answered.map_err(|error| Problem::from_error("ping", &self.globals.explained(error)))
    }

    /// Where the next page of an answer begins. All pages together take no longer than one answer may.
    pub(crate) fn further<T: Ord>(&self, verb: &str, after: Option<T>, next: Option<T>) -> Result<Option<T>> {
        let next = forward(after, next).map_err(|error| Problem::from_error(verb, &error))?;
        if self.began.elapsed() <= self.globals.deadline() {
            return Ok(next);
        }
        let time = duration::display(self.globals.deadline());
        Err(Problem::new(ErrorCode::DEADLINE, verb, format!("the broker's answer isn't complete after {time}")))
    }

    /// The time that is left of `-t`; none if the broker's default holds.
    fn left(&self) -> Option<Duration> {
        self.globals.timeout().map(|time| time.saturating_sub(self.began.elapsed()))
    }
}

/// Where the next page begins. Pages are sorted; one that led back would be asked for again and again.
fn forward<T: Ord>(after: Option<T>, next: Option<T>) -> std::result::Result<Option<T>, Error> {
    if next > after {
        return Ok(next);
    }
    Err(Error::new(ErrorCode::PROTOCOL, "the broker's answer leads back to an earlier part of it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_only_lead_forward() {
        assert_eq!(forward(None, Some(1)).unwrap(), Some(1));
        assert_eq!(forward(Some(1), Some(2)).unwrap(), Some(2));
        assert!(forward(Some(2), Some(2)).is_err());
        assert!(forward(Some(2), Some(1)).is_err());
    }
}
