//! The broker as its user sees it: bound, then run. Owns everything that the other files of this folder work on.

use std::{collections::VecDeque, io, os::fd::OwnedFd};

use ipc_protocol::transport::{Address, Pool, ReadBuffer};

use super::{
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
    site::{self, Look, Site, SiteError, Sockets},
};
use crate::core::{Moment, Outputs, PeerId, Policy, Router};

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It cannot be reached at its address.
    #[error(transparent)]
    Site(#[from] SiteError),
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
    /// Where it is reached, unless its sockets were handed down.
    pub(super) site: Option<Site>,
    pub(super) descriptors: Descriptors,
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
        let inherited = Inherited::take().map_err(failed("take inherited sockets"))?;
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
            site: None,
            descriptors,
            config,
        };
        server.open_doors(inherited)?;
        Ok(server)
    }

    fn open_doors(&mut self, inherited: Inherited) -> Result<(), StartError> {
        let sockets = match (inherited.stream, &self.config.socket) {
            (Some(stream), _) => Sockets { stream: Some(stream), datagram: inherited.datagram },
            (None, Address::Fd(number)) => {
                let stream = listener(*number).map_err(failed("take the socket of --socket"))?;
                Sockets { stream: Some(stream), datagram: None }
            }
            (None, _) => {
                let (site, sockets) = site::open(&self.config, self.clock.now())?;
                self.site = site;
                sockets
            }
        };
        self.watch_sockets(sockets).map_err(failed("watch the sockets"))
    }

    /// Serves these sockets from now on, in place of those there were.
    fn watch_sockets(&mut self, sockets: Sockets) -> io::Result<()> {
        if let Some(stream) = sockets.stream {
            self.poller.add(&stream, Source::Listener, Interest::READ)?;
            if let Some(old) = self.door.replace(Door::new(stream)) {
                self.poller.remove(&old);
            }
        }
        if let Some(datagram) = sockets.datagram {
            self.poller.add(&datagram, Source::Datagrams, Interest::READ)?;
            if let Some(old) = self.datagrams.replace(Datagrams::new(datagram)) {
                self.poller.remove(&old);
            }
        }
        Ok(())
    }

    /// Looks after the files of the sockets. Whoever waits at a socket that lost its file is let in first.
    pub(super) fn look_at_site(&mut self, now: Moment) {
        let Some(look) = self.site.as_mut().map(|site| site.look(now)) else { return };
        match look {
            Look::Unchanged => {}
            Look::Lost(error) => self.log.line(format_args!("event=socket_lost reason={:?}", error.to_string())),
            Look::Reopened(sockets) => {
                self.accept(now);
                self.receive_datagrams(now);
                match self.watch_sockets(sockets) {
                    Ok(()) => self.log.line(format_args!("event=socket_reopened")),
                    Err(error) => self.log.line(format_args!("event=socket_lost reason={:?}", error.to_string())),
                }
            }
        }
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
