//! Epoll, level-triggered.

use std::{io, os::fd::AsFd};

use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

use crate::core::{Moment, PeerId};

/// The source of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A connection waits to be accepted.
    Listener,
    /// A datagram waits.
    Datagrams,
    /// A signal waits.
    Signals,
    /// The broker has to stop.
    Stop,
    /// The timer has expired.
    Timer,
    /// A connection.
    Peer(PeerId),
}

/// The events that a connection is watched for. A close is always reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interest {
    /// There are bytes to read.
    pub(crate) read: bool,
    /// There is room to write.
    pub(crate) write: bool,
    /// One event ends the watch, until it is watched again.
    pub(crate) once: bool,
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
    /// Wakes the wait in time. Nearly every call ends before its deadline, and later calls have later deadlines. So the timer is
    /// rarely set, and sometimes expires in vain, while a timeout of the wait would be set and cancelled in every turn.
    timer: TimerFd,
    /// When the timer will expire.
    rings: Option<Moment>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let poller = Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            events: vec![EpollEvent::empty(); EVENTS],
            count: 0,
            timer: TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?,
            rings: None,
        };
        poller.add(&poller.timer, Source::Timer, Interest::READ)?;
        Ok(poller)
    }

    pub(crate) fn add(&self, fd: &impl AsFd, source: Source, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.add(fd, event(source, interest))?)
    }

    pub(crate) fn modify(&self, fd: &impl AsFd, source: Source, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.modify(fd, &mut event(source, interest))?)
    }

    /// Removes a descriptor. This must happen before it is closed, because a copy elsewhere would keep it registered (epoll(7)).
    pub(crate) fn remove(&self, fd: &impl AsFd) {
        // It fails only for a descriptor that is not registered.
        let _ = self.epoll.delete(fd);
    }

    /// Waits until something is ready, up to `wake`. If `now` is a little in the past, the wait is longer by that time. An
    /// interrupted wait finds nothing ready, and so may one that was woken early.
    pub(crate) fn wait(&mut self, now: Moment, wake: Option<Moment>) -> io::Result<()> {
        let timeout = match wake {
            Some(wake) if wake <= now => EpollTimeout::ZERO,
            Some(wake) => {
                self.ring_by(now, wake)?;
                EpollTimeout::NONE
            }
            None => EpollTimeout::NONE,
        };
        self.count = match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(())
    }

    /// Resets the timer after it has expired.
    pub(crate) fn rang(&mut self) {
        // It fails only if the timer was read before, which happens nowhere else.
        let _ = self.timer.wait();
        self.rings = None;
    }

    /// Sets the timer, unless it expires earlier anyway.
    fn ring_by(&mut self, now: Moment, wake: Moment) -> io::Result<()> {
        if self.rings.is_some_and(|rings| rings <= wake) {
            return Ok(());
        }
        let wait = TimeSpec::from(wake.since(now));
        self.timer.set(Expiration::OneShot(wait), TimerSetTimeFlags::empty())?;
        self.rings = Some(wake);
        Ok(())
    }

    /// The number of ready sources.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The ready source at `at`.
    pub(crate) fn ready(&self, at: usize) -> Option<Ready> {
        let event = self.events.get(..self.count)?.get(at)?;
        let flags = event.events();
        Some(Ready {
            source: source(event.data())?,
            read: flags
                .intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR),
            write: flags.intersects(EpollFlags::EPOLLOUT),
            hung_up: flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR),
        })
    }
}

impl Interest {
    pub(crate) const READ: Self = Self { read: true, write: false, once: false };
    pub(crate) const NOTHING: Self = Self { read: false, write: false, once: false };
}

fn event(source: Source, interest: Interest) -> EpollEvent {
    let mut flags = EpollFlags::empty();
    flags.set(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, interest.read);
    flags.set(EpollFlags::EPOLLOUT, interest.write);
    flags.set(EpollFlags::EPOLLONESHOT, interest.once);
    EpollEvent::new(flags, data(source))
}

/// Ids of peers have generations from 1 on, so as numbers they are above 2^32 and differ from the small ones.
fn data(source: Source) -> u64 {
    match source {
        Source::Listener => 0,
        Source::Datagrams => 1,
        Source::Signals => 2,
        Source::Stop => 3,
        Source::Timer => 4,
        Source::Peer(id) => id.to_bits(),
    }
}

fn source(data: u64) -> Option<Source> {
    Some(match data {
        0 => Source::Listener,
        1 => Source::Datagrams,
        2 => Source::Signals,
        3 => Source::Stop,
        4 => Source::Timer,
        bits => Source::Peer(PeerId::from_bits(bits)?),
    })
}

/// Events taken at once. A turn serves up to this number of connections.
const EVENTS: usize = 512;
