//! All that a subscription waits for, behind one descriptor.

use std::{os::fd::OwnedFd, sync::Arc, time::Instant};

use ipc_protocol::transport::Bell;
use rustix::{
    event::Timespec,
    io::Errno,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime},
};

use crate::{
    error::{Error, Result},
    link::{blocking::Connection, readiness::Readiness},
};

/// The socket, a bell for what other threads have read, and a timer for what is due.
#[derive(Debug)]
pub(super) struct Watch {
    readiness: Readiness,
    bell: Bell,
    timer: OwnedFd,
    due: Option<Instant>,
}

impl Watch {
    pub(super) fn new() -> Result<Self> {
        let readiness = Readiness::new()?;
        let bell = Bell::new().map_err(|error| Error::host("make an eventfd", error))?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(no_timer)?;
        readiness.add(&bell)?;
        readiness.add(&timer)?;
        Ok(Self { readiness, bell, timer, due: None })
    }

    /// What it is told by.
    pub(super) fn descriptor(&self) -> Arc<OwnedFd> {
        self.readiness.descriptor()
    }

    /// What rings when there is something to tell.
    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// From now on tells of this connection, and of this time.
    ///
    /// # Errors
    /// `internal`, if the system has no memory left for it.
    pub(super) fn follow(&mut self, connection: Option<&Arc<Connection>>, due: Option<Instant>) -> Result<()> {
        self.readiness.follow(connection)?;
        if self.due != due {
            self.due = due;
            self.set_timer().map_err(no_timer)?;
        }
        Ok(())
    }

    /// Setting it takes back what it has told.
    fn set_timer(&self) -> Result<(), Errno> {
        let left = self.due.map(|due| due.saturating_duration_since(Instant::now()));
        // Zero would mean never.
        let it_value = match left {
            None => Timespec { tv_sec: 0, tv_nsec: 0 },
            Some(left) => Timespec::try_from(left.max(std::time::Duration::from_nanos(1))).map_err(|_| Errno::INVAL)?,
        };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: never, it_value }).map(drop)
    }
}

fn no_timer(error: Errno) -> Error {
    Error::host("make a timer", error.into())
}
