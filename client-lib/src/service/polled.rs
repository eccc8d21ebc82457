//! A service in a loop of the program's own.

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use ipc_protocol::PeerNumber;
use rustix::event::{
    PollFlags,
    epoll::{self, EventData, EventFlags},
};

use super::{
    Stopper,
    life::{Life, Wait},
};
use crate::{
    client::Client,
    error::{Error, Result},
    link::blocking::Connection,
};

/// A service without a thread that reads: the program's own loop waits for its descriptor, and takes a turn when it is readable or
/// when [`Polled::timeout`] is over. Quick methods run in the turn.
///
/// ```
/// use ipc_client::Service;
/// use rustix::event::{PollFd, PollFlags, poll};
///
/// # let directory = tempfile::tempdir()?;
/// # let address = ipc_client::Address::Path(directory.path().join("ipcd.sock"));
/// # let (_stop, stopped) = std::os::unix::net::UnixStream::pair()?;
/// # let broker = ipcd::Server::bind(ipcd::Config::new(address.clone()))?;
/// # std::thread::spawn(move || broker.run(stopped.into()));
/// let mut polled = Service::new("clock").address(&address).poll()?;
/// # polled.stopper().stop();
/// while polled.turn()?.is_continue() {
///     let timeout = polled.timeout().map(|timeout| timeout.try_into()).transpose()?;
///     poll(&mut [PollFd::new(&polled, PollFlags::IN)], timeout.as_ref())?; // with everything else that the program waits for
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A turn does not wait for the broker or for a pooled method, unless more than 1 MiB of answers is waiting for the broker to read it.
/// Dropping it closes the connection: what runs ends
/// with `service_gone`.
pub struct Polled {
    life: Life,
    /// Of the connection, and of what else wakes the service: one descriptor that never changes.
    epoll: OwnedFd,
    watched: Option<(Arc<Connection>, PollFlags)>,
}

impl Polled {
    pub(super) fn new(life: Life) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| no_epoll(error.into()))?;
        let mut polled = Self { life, epoll, watched: None };
        for bell in [polled.life.stopper().bell(), polled.life.idle()] {
            // Edge-triggered: a stopper stays rung, and is dealt with once.
            let flags = EventFlags::IN | EventFlags::ET;
            epoll::add(&polled.epoll, bell, EventData::new_u64(0), flags).map_err(|error| no_epoll(error.into()))?;
        }
        polled.watch()?;
        Ok(polled)
    }

    /// Does what there is to do, without waiting: continues, or breaks once the service was stopped and has ended.
    ///
    /// # Errors
    /// Why the service could not register again after the broker died; it has ended then.
    pub fn turn(&mut self) -> Result<std::ops::ControlFlow<()>> {
        self.take_edges();
        if let Some(connection) = self.life.connection() {
            connection.read_here();
        }
        loop {
            let before = self.life.phase_number();
            self.life.step(Wait::DontBlock);
            if self.life.phase_number() == before {
                break; // the next phase may have something to do already
            }
        }
        if let Some(result) = self.life.ended() {
            return result.clone().map(std::ops::ControlFlow::Break);
        }
        self.watch()?;
        Ok(std::ops::ControlFlow::Continue(()))
    }

    /// How long to wait for the descriptor at most; `None` if there is no need to wake up for anything else.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.life.due().map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Stops the service, from any thread: its turns go on until the calls that run have ended.
    #[must_use]
    pub fn stopper(&self) -> &Stopper {
        self.life.stopper()
    }

    /// The number under which the service can be called directly, as `@17`. Another one after a reconnect.
    #[must_use]
    pub fn peer(&self) -> PeerNumber {
        self.life.client().number()
    }

    /// Threads for the methods that are not quick: fewer than were asked for if the system has no more.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.life.threads()
    }

    /// A client on the service's connection, for calls from other threads than the one that takes the turns.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.life.client()
    }

    /// Has the descriptor tell of the connection that is in use now.
    fn watch(&mut self) -> Result<()> {
        let now = self.life.connection().cloned().map(|connection| {
            let interest = connection.interest().1;
            (connection, interest)
        });
        let is_same = |one: &Arc<Connection>, other: &Arc<Connection>| Arc::ptr_eq(one, other);
        let changed = match (&self.watched, &now) {
            (None, None) => Ok(()),
            (Some((old, flags)), Some((new, wanted))) if is_same(old, new) && flags == wanted => Ok(()),
            (Some((old, _)), Some((new, wanted))) if is_same(old, new) => {
                epoll::modify(&self.epoll, new.interest().0, EventData::new_u64(0), to_epoll(*wanted))
            }
            (old, new) => {
                if let Some((old, _)) = old {
                    let _ = epoll::delete(&self.epoll, old.interest().0); // it goes with its descriptor anyway
                }
                let add = |(new, wanted): &(Arc<Connection>, PollFlags)| {
                    epoll::add(&self.epoll, new.interest().0, EventData::new_u64(0), to_epoll(*wanted))
                };
                new.as_ref().map_or(Ok(()), add)
            }
        };
        self.watched = now;
        changed.map_err(|error| no_epoll(error.into()))
    }

    /// Takes the edges out, or the descriptor would stay readable for them.
    fn take_edges(&self) {
        let mut events = Vec::with_capacity(4);
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&now)); // what is there, the turn finds
    }
}

impl AsFd for Polled {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        if let Some(connection) = self.life.connection() {
            connection.close("the service was dropped");
        }
    }
}

impl fmt::Debug for Polled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Polled").field("client", self.life.client()).finish_non_exhaustive()
    }
}

fn to_epoll(interest: PollFlags) -> EventFlags {
    let mut flags = EventFlags::empty();
    flags.set(EventFlags::IN, interest.contains(PollFlags::IN));
    flags.set(EventFlags::OUT, interest.contains(PollFlags::OUT));
    flags
}

fn no_epoll(error: io::Error) -> Error {
    Error::host("make an epoll instance", error)
}
