//! The broker as its user sees it: bound, then run. Owns everything that the other files of this folder work on.

use std::{collections::VecDeque, io, os::fd::OwnedFd};

use ipc_protocol::transport::{Address, Pool, ReadBuffer, socket};

use super::{
    claim::{Claim, ClaimError, SocketFile},
    clock::Clock,
    config::Config,
    connection::Connections,
    datagrams::Datagrams,
    descriptors::Descriptors,
    doors::Door,
    inherited::{Inherited, listener},
    log::Log,
    owner::owner,
    poller::{Interest, Poller, Source},
    signals::Signals,
};
use crate::core::{Moment, Outputs, PeerId, Policy, Router};

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
pub struct Server {
    pub(super) config: Config,
    pub(super) router: Router,
    pub(super) out: Outputs,
    pub(super) spare_out: Outputs,
    pub(super) connections: Connections,
    pub(super) poller: Poller,
    pub(super) clock: Clock,
    pub(super) log: Log,
    pub(super) door: Option<Door>,
    pub(super) datagrams: Option<Datagrams>,
    pub(super) signals: Option<Signals>,
    pub(super) stop: Option<OwnedFd>,
    pub(super) buffer: ReadBuffer,
    pub(super) pool: Pool,
    /// Connections with something queued, to be written at the end of the turn.
    pub(super) dirty: Vec<PeerId>,
    /// Connections that were read and still have frames to be routed.
    pub(super) unrouted: VecDeque<PeerId>,
    /// Connections whose begun frame, of so many bytes, has to wait for its user's quota: first come, first served.
    pub(super) parked: Vec<(PeerId, usize)>,
    /// Connections with a begun frame, in the order of their deadlines.
    pub(super) frame_clock: VecDeque<(Moment, PeerId)>,
    /// Accepting goes on at this time: there were no descriptors.
    pub(super) resume_accept: Option<Moment>,
    pub(super) phase: Phase,
    /// Removed when the server ends, before the claim is given up.
    pub(super) files: Vec<SocketFile>,
    pub(super) descriptors: Descriptors,
    _claim: Option<Claim>,
}

/// How far the broker's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    /// Told to stop: calls may finish until then.
    Draining(Moment),
    Stopped,
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
    pub fn run(mut self, stop: OwnedFd) -> io::Result<()> {
        self.poller.add(&stop, Source::Stop, Interest::READ)?;
        self.stop = Some(stop);
        self.serve()
    }

    /// Serves until a TERM or INT comes. Calls then may finish for 5 s (`drain_ms`); a second signal ends them at once.
    ///
    /// # Errors
    /// What epoll_wait(2) says.
    pub fn run_until_signal(mut self, signals: Signals) -> io::Result<()> {
        self.poller.add(&signals, Source::Signals, Interest::READ)?;
        self.signals = Some(signals);
        self.serve()
    }

    /// How many connections it takes: as configured, or fewer if the process may not open as many descriptors.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.router.limits().connections
    }

    fn with_sockets(config: Config, inherited: Inherited) -> Result<Self, StartError> {
        let descriptors = Descriptors::count();
        let limits = descriptors.fit(config.limits.clone());
        let policy = Policy::new(owner());
        let router = Router::new(limits, policy, concat!("ipcd ", env!("CARGO_PKG_VERSION")));
        let mut server = Self {
            router,
            out: Outputs::new(),
            spare_out: Outputs::new(),
            connections: Connections::default(),
            poller: Poller::new().map_err(failed("make an epoll instance"))?,
            clock: Clock::start(),
            log: Log::new(config.verbose),
            door: None,
            datagrams: None,
            signals: None,
            stop: None,
            buffer: ReadBuffer::new(),
            pool: Pool::default(),
            dirty: Vec::new(),
            unrouted: VecDeque::new(),
            parked: Vec::new(),
            frame_clock: VecDeque::new(),
            resume_accept: None,
            phase: Phase::Serving,
            files: Vec::new(),
            descriptors,
            _claim: None,
            config,
        };
        server.open_doors(inherited)?;
        Ok(server)
    }

    fn open_doors(&mut self, inherited: Inherited) -> Result<(), StartError> {
        let (stream, datagram) = match (inherited.stream, &self.config.socket) {
            (Some(stream), _) => (stream, inherited.datagram),
            (None, Address::Fd(number)) => (listener(*number).map_err(failed("take the socket of --socket"))?, None),
            (None, _) => self.bind_sockets()?,
        };
        self.poller.add(&stream, Source::Listener, Interest::READ).map_err(failed("watch the stream socket"))?;
        self.door = Some(Door::new(stream));
        if let Some(datagram) = datagram {
            self.poller
                .add(&datagram, Source::Datagrams, Interest::READ)
                .map_err(failed("watch the datagram socket"))?;
            self.datagrams = Some(Datagrams::new(datagram));
        }
        Ok(())
    }

    fn bind_sockets(&mut self) -> Result<(OwnedFd, Option<OwnedFd>), StartError> {
        let address = self.config.socket.clone();
        let datagram = address.datagram().filter(|_| self.config.datagram);
        if let Address::Path(path) = &address {
            self._claim = Some(Claim::take(path, datagram.as_ref())?);
        }
        let backlog = i32::try_from(self.router.limits().backlog).unwrap_or(i32::MAX);
        let stream = socket::listen_stream(&address, SOCKET_MODE, backlog)
            .map_err(|source| failed(&format!("listen at {address}"))(source))?;
        self.remember_file(&address)?;
        let Some(address) = datagram else { return Ok((stream, None)) };
        let datagram = socket::bind_datagram(&address, SOCKET_MODE)
            .map_err(|source| failed(&format!("bind the datagram socket at {address}"))(source))?;
        self.remember_file(&address)?;
        Ok((stream, Some(datagram)))
    }

    fn remember_file(&mut self, address: &Address) -> Result<(), StartError> {
        if let Address::Path(path) = address {
            self.files.push(SocketFile::of(path).map_err(failed("look at the socket"))?);
        }
        Ok(())
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut now = self.clock.now();
        while self.phase != Phase::Stopped {
            now = self.turn(now)?;
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
