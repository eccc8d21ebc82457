//! The broker's public interface: a server is bound, then run.

use std::{io, os::fd::OwnedFd};

use ipc_protocol::transport::{Address, Rights};

use super::{
    clock,
    closing::Closing,
    config::Config,
    decisions::Decisions,
    descriptors::Descriptors,
    doors::Doors,
    inherited::{Inherited, listener},
    life::Life,
    log::Log,
    memory::Memory,
    notify::Notifier,
    owner::owner,
    path_error::plain,
    poller::Poller,
    sandbox::Sandbox,
    signals::Signals,
    site::{self, Site, SiteError, Sockets},
    turn::Loop,
};
use crate::core::{LimitError, Policy};

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It cannot be reached at its address.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// A limit has a value that it can't have.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A system call failed.
    #[error("cannot {operation}: {}", plain(source))]
    Io {
        /// The operation, and what it was applied to.
        operation: String,
        /// The error.
        source: io::Error,
    },
}

/// A broker that listens.
#[derive(Debug)]
pub struct Server(Loop);

impl Server {
    /// Listens at the address of `config`. Clients can connect from now on, and are served once it runs.
    ///
    /// # Errors
    /// [`StartError`] says why it cannot start.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        Self::with_sockets(config, Inherited::default())
    }

    /// Like [`Server::bind`], but uses the sockets inherited from a service manager (`LISTEN_FDS`), if there are any.
    ///
    /// # Errors
    /// [`StartError`] says why it cannot start.
    pub fn bind_or_inherit(config: Config) -> Result<Self, StartError> {
        let inherited = Inherited::take().map_err(failed("take inherited sockets"))?;
        Self::with_sockets(config, inherited)
    }

    /// Serves until `stop` becomes readable. Then it ends every call, sends every peer a goodbye, and removes its sockets.
    ///
    /// # Errors
    /// Those of epoll_wait(2).
    pub fn run(self, stop: OwnedFd) -> io::Result<()> {
        self.0.run(|life, poller| life.stop_with(stop, poller))
    }

    /// Serves until TERM or INT. Running calls then have 5 s (`drain_ms`) to finish. A second signal ends them at once. The service
    /// manager is told when the end begins, and its watchdog is fed.
    ///
    /// # Errors
    /// Those of epoll_wait(2).
    pub fn run_until_signal(self, signals: Signals, notifier: Notifier) -> io::Result<()> {
        self.0.run(|life, poller| life.stop_on(signals, notifier, poller))
    }

    /// The sandbox in which this broker can serve, for a process that has nothing else to do.
    #[must_use]
    pub fn sandbox(&self) -> Sandbox {
        self.0.sandbox()
    }

    /// The number of connections it accepts: the configured limit, or less if the process may not open enough descriptors.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.0.places()
    }

    /// The bytes it holds for all users: the configured quota, or less if the process may not have that much memory.
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.0.bytes()
    }

    fn with_sockets(config: Config, inherited: Inherited) -> Result<Self, StartError> {
        if let Some(mistake) = config.limits.mistakes().into_iter().next() {
            return Err(mistake.into());
        }
        let rights = Rights::of_kernel().map_err(failed("make a socket"))?;
        let descriptors = Descriptors::count(rights);
        // The only thread that a broker starts.
        let mut closing = Closing::start(rights, descriptors.for_closing()).map_err(failed("start a thread"))?;
        let memory = Memory::count();
        let limits = memory.fit(descriptors.fit(config.limits.clone()));
        let decisions = Decisions::new(limits, Policy::new(owner()));
        let (site, sockets) = sockets(&config, inherited)?;
        let poller = Poller::new().map_err(failed("make an epoll instance"))?;
        let doors = Doors::open(sockets, &poller, &mut closing).map_err(failed("watch the sockets"))?;
        let log = Log::new(config.verbose);
        let life = Life::new(config, site, descriptors, memory);
        Ok(Self(Loop::new(poller, log, decisions, (doors, closing), life)))
    }
}

/// The inherited sockets, or new ones at the configured address.
fn sockets(config: &Config, inherited: Inherited) -> Result<(Option<Site>, Sockets), StartError> {
    let Inherited { stream, datagram } = inherited;
    match (stream, &config.socket) {
        (Some(stream), _) => Ok((None, Sockets { stream: Some(stream), datagram })),
        (None, Address::Fd(number)) => {
            let stream = listener(*number).map_err(failed("take the socket of --socket"))?;
            Ok((None, Sockets { stream: Some(stream), datagram: None }))
        }
        (None, _) => Ok(site::open(config, clock::now())?),
    }
}

fn failed(operation: &str) -> impl Fn(io::Error) -> StartError {
    let operation = operation.to_owned();
    move |source| StartError::Io { operation: operation.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_nothing_works_with_are_refused_before_anything_is_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let mut config = Config::new(Address::Path(path.clone()));
        config.limits.hello_ms = 9_300_000_000_000;
        assert!(matches!(Server::bind(config), Err(StartError::Limit(_))));
        assert!(!path.exists());
    }
}
