//! A subscription in the program's own loop: one descriptor for all that it waits for.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Instant,
};

use ipc_protocol::transport::Bell;
use rustix::{
    event::Timespec,
    io::Errno,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime},
};

use super::subscription::Subscription;
use crate::{
    error::{Error, Result},
    link::{blocking::Connection, readiness::Readiness},
};

/// A [`Subscription`] with a descriptor that is readable when there may be something to do: the program's own loop waits for it, with
/// everything else that it waits for, and takes what is there with [`next_within`](Subscription::next_within) zero, until that gives `None`.
/// The descriptor stays the same after a reconnect, and tells when it is time to try one.
///
/// ```
/// use std::time::Duration;
///
/// use ipc_client::{Notice, poll::{PollFd, PollFlags, wait}};
///
/// # use ipc_client::{Client, Publication};
/// # let directory = tempfile::tempdir()?;
/// # let address = ipc_client::Address::Path(directory.path().join("ipcd.sock"));
/// # let (_stop, stopped) = std::os::unix::net::UnixStream::pair()?;
/// # let broker = ipcd::Server::bind(ipcd::Config::new(address.clone()))?;
/// # std::thread::spawn(move || broker.run(stopped.into()));
/// # let client = Client::connect_to(&address)?;
/// let mut news = client.subscribe("news.")?.watched()?;
/// # client.publish_bytes(&Publication::new("news.local".parse()?, "rain"))?;
/// # let mut seen = 0;
/// # while seen == 0 {
/// wait(&mut [PollFd::new(&news, PollFlags::IN)], None)?; // with everything else that the program waits for
/// while let Some(notice) = news.next_within(Duration::ZERO)? {
///     println!("{notice:?}");
/// #   seen += 1;
/// }
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// More than one thread may share the client: what another thread has read for this subscription makes the descriptor readable, too.
pub struct Watched {
    subscription: Subscription,
    descriptor: Arc<OwnedFd>,
}

impl Watched {
    pub(super) fn new(subscription: Subscription, descriptor: Arc<OwnedFd>) -> Self {
        Self { subscription, descriptor }
    }
}

impl Deref for Watched {
    type Target = Subscription;

    fn deref(&self) -> &Subscription {
        &self.subscription
    }
}

impl DerefMut for Watched {
    fn deref_mut(&mut self) -> &mut Subscription {
        &mut self.subscription
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.subscription).finish()
    }
}

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
