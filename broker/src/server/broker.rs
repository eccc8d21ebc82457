//! The broker as its user sees it: bound, then run.

use std::{io, os::fd::OwnedFd};

use ipc_protocol::transport::{Address, socket};

use super::{
    claim::{Claim, ClaimError, SocketFile},
    config::Config,
    decisions::Decisions,
    descriptors::fit_to_descriptors,
    doors::Doors,
    inherited::{Inherited, listener},
    life::Life,
    log::Log,
    owner::owner,
    poller::Poller,
    signals::Signals,
    turn::Loop,
};
use crate::core::Policy;

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The path cannot be had.
    #[error("{0}")]
    Claim(#[from] ClaimError),
    /// The system says no.
    #[error("cannot {operation}: {source}")]
    Io {
        /// What was tried, on what.
        operation: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A broker that listens.
#[derive(Debug)]
pub struct Server(Loop);

/// The sockets of a broker, and what keeps their paths its own.
#[derive(Debug)]
struct Sockets {
    stream: OwnedFd,
    datagram: Option<OwnedFd>,
    files: Vec<SocketFile>,
    claim: Option<Claim>,
}

impl Server {
    /// Listens at the address of `config`. Connections are accepted from now on, and served once it runs.
    ///
    /// # Errors
    /// [`StartError`] says what is in the way.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        Self::with_sockets(config, Inherited::default())
    }

    /// Like [`Server::bind`], on the sockets that a service manager handed down (`LISTEN_FDS`), if it did.
    ///
    /// # Errors
    /// [`StartError`] says what is in the way.
    pub fn bind_or_inherit(config: Config) -> Result<Self, StartError> {
        let inherited = Inherited::take(|name| std::env::var(name).ok()).map_err(failed("take inherited sockets"))?;
        Self::with_sockets(config, inherited)
    }

    /// Serves until `stop` becomes readable; then every call ends, every peer hears goodbye, and the sockets are gone.
    ///
    /// # Errors
    /// What epoll_wait(2) says.
    pub fn run(self, stop: OwnedFd) -> io::Result<()> {
        self.0.run(|life, poller| life.stop_with(stop, poller))
    }

    /// Serves until a TERM or INT comes. Calls then may finish for 5 s (`drain_ms`); a second signal ends them at once.
    ///
    /// # Errors
    /// What epoll_wait(2) says.
    pub fn run_until_signal(self, signals: Signals) -> io::Result<()> {
        self.0.run(|life, poller| life.stop_on(signals, poller))
    }

    fn with_sockets(config: Config, inherited: Inherited) -> Result<Self, StartError> {
        let limits = fit_to_descriptors(config.limits.clone());
        let sockets = Sockets::of(&config, inherited)?;
        let poller = Poller::new().map_err(failed("make an epoll instance"))?;
        let doors = Doors::open(sockets.stream, sockets.datagram, &poller).map_err(failed("watch the sockets"))?;
        let log = Log::new(config.verbose);
        let life = Life::new(config, sockets.files, sockets.claim);
        Ok(Self(Loop::new(poller, log, Decisions::new(limits, Policy::new(owner())), doors, life)))
    }
}

impl Sockets {
    /// Those that were handed down, or those of the address.
    fn of(config: &Config, inherited: Inherited) -> Result<Self, StartError> {
        let (stream, datagram) = match (inherited.stream, &config.socket) {
            (Some(stream), _) => (stream, inherited.datagram),
            (None, Address::Fd(number)) => (listener(*number).map_err(failed("take the socket of --socket"))?, None),
            (None, _) => return Self::bind(config),
        };
        Ok(Self { stream, datagram, files: Vec::new(), claim: None })
    }

    fn bind(config: &Config) -> Result<Self, StartError> {
        let address = &config.socket;
        let datagram = address.datagram().filter(|_| config.datagram);
        let claim = match address {
            Address::Path(path) => Some(Claim::take(path, datagram.as_ref())?),
            _ => None,
        };
        let backlog = i32::try_from(config.limits.backlog).unwrap_or(i32::MAX);
        let stream = socket::listen_stream(address, SOCKET_MODE, backlog)
            .map_err(|source| failed(&format!("listen at {address}"))(source))?;
        let mut sockets = Self { stream, datagram: None, files: Vec::new(), claim };
        sockets.remember_file(address)?;
        if let Some(address) = datagram {
            let datagram = socket::bind_datagram(&address, SOCKET_MODE)
                .map_err(|source| failed(&format!("bind the datagram socket at {address}"))(source))?;
            sockets.datagram = Some(datagram);
            sockets.remember_file(&address)?;
        }
        Ok(sockets)
    }

    fn remember_file(&mut self, address: &Address) -> Result<(), StartError> {
        if let Address::Path(path) = address {
            self.files.push(SocketFile::of(path).map_err(failed("look at the socket"))?);
        }
        Ok(())
    }
}

fn failed(operation: &str) -> impl Fn(io::Error) -> StartError {
    let operation = operation.to_owned();
    move |source| StartError::Io { operation: operation.clone(), source }
}

/// Anybody may connect: policy decides what they may do, and a refusal tells more than EACCES. The directory of the socket is the
/// place to keep others out altogether.
const SOCKET_MODE: u32 = 0o666;
