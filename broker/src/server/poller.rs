//! Epoll, level-triggered.

use std::{io, os::fd::AsFd, time::Duration};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::core::PeerId;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A connection waits to be accepted.
    Listener,
    /// A datagram waits.
    Datagrams,
    /// A signal waits.
    Signals,
    /// The broker shall stop.
    Stop,
    /// A connection.
    Peer(PeerId),
}

/// What a connection is watched for. A close is always told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interest {
    /// Bytes to read.
    pub(crate) read: bool,
    /// Room to write.
    pub(crate) write: bool,
}

/// What a connection is ready for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) source: Source,
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// Both directions are closed.
    pub(crate) hung_up: bool,
}

#[derive(Debug)]
pub(crate) struct Poller {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    count: usize,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            events: vec![EpollEvent::empty(); EVENTS],
            count: 0,
        })
    }

    pub(crate) fn add(&self, fd: &impl AsFd, source: Source, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.add(fd, event(source, interest))?)
    }

    pub(crate) fn modify(&self, fd: &impl AsFd, source: Source, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.modify(fd, &mut event(source, interest))?)
    }

    /// Takes a descriptor out, which must happen before it is closed: a copy of it elsewhere would keep it in (epoll(7)).
    pub(crate) fn remove(&self, fd: &impl AsFd) {
        // It fails only for a descriptor that is not in, and then there is nothing to do.
        let _ = self.epoll.delete(fd);
    }

    /// Waits until something is ready, for at most `patience`. An interrupted wait finds nothing ready.
    pub(crate) fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let timeout = match patience {
            None => EpollTimeout::NONE,
            // Rounded up: waking early would only mean waiting again.
            Some(patience) => {
                let ms = i32::try_from(patience.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
                EpollTimeout::try_from(ms).unwrap_or(EpollTimeout::MAX)
            }
        };
        self.count = match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(())
    }

    /// How many sources are ready.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The source at `at` that was found ready.
    pub(crate) fn ready(&self, at: usize) -> Option<Ready> {
        let event = self.events.get(..self.count)?.get(at)?;
        let flags = event.events();
        Some(Ready {
            source: source(event.data()),
            read: flags
                .intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR),
            write: flags.intersects(EpollFlags::EPOLLOUT),
            hung_up: flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR),
        })
    }
}

impl Interest {
    pub(crate) const READ: Self = Self { read: true, write: false };
}

fn event(source: Source, interest: Interest) -> EpollEvent {
    let mut flags = EpollFlags::empty();
    flags.set(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, interest.read);
    flags.set(EpollFlags::EPOLLOUT, interest.write);
    EpollEvent::new(flags, data(source))
}

/// Ids of peers start their generations at 1, so as numbers they are above 2^32 and never meet the small ones.
fn data(source: Source) -> u64 {
    match source {
        Source::Listener => 0,
        Source::Datagrams => 1,
        Source::Signals => 2,
        Source::Stop => 3,
        Source::Peer(id) => id.to_bits(),
    }
}

fn source(data: u64) -> Source {
    match data {
        0 => Source::Listener,
        1 => Source::Datagrams,
        2 => Source::Signals,
        3 => Source::Stop,
        bits => Source::Peer(PeerId::from_bits(bits)),
    }
}

/// Events taken at once: a turn serves at most so many connections.
const EVENTS: usize = 512;
