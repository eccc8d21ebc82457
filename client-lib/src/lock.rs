//! Locks between processes, which the broker keeps: taken by a connection, and gone with it.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Duration,
};

use ipc_protocol::{
    ErrorCode, Retry, ServiceName,
    control::{self, operation},
};

use crate::{
    client::Client,
    error::{Error, Result},
    link::blocking::Connection,
    session::outgoing::{Operated, decode_answer, misnamed},
    ticket::Ticket,
};

/// How a lock is to be taken: [`Client::locking`].
#[derive(Clone)]
#[must_use = "nothing is taken before `take` or `try_take`"]
pub struct Locking<C = Client> {
    client: C,
    name: Result<ServiceName>,
    places: u32,
    timeout: Option<Duration>,
}

/// A place of a lock. Dropping it gives the place back.
///
/// The place belongs to the connection on which it was taken, and is gone with it: when the broker ends, or cuts the connection.
/// Another process may hold the lock from then on. The client makes a new connection for its next call, but takes no lock on it again:
/// what must not run without the lock asks [`LockGuard::is_held`], and waits for [`AsFd`] to become readable if it has a loop.
///
/// ```
/// # use ipc_client::Client;
/// # let broker = ipc_client::testing::broker()?;
/// # let address = broker.address();
/// # let client = Client::connect_to(&address)?;
/// # let other = Client::connect_to(&address)?;
/// let guard = client.lock("backup")?;
/// assert!(other.locking("backup").try_take()?.is_none());
/// drop(guard);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it gives the lock back"]
pub struct LockGuard {
    connection: Arc<Connection>,
    name: ServiceName,
    is_released: bool,
}

impl Client {
    /// Takes a lock, and waits for it in order of arrival, up to the broker's default: 30 s unless it is configured otherwise.
    ///
    /// A lock belongs to a connection, which all threads with this client share: a thread that asks for a lock that another one holds
    /// or waits for gets `invalid`. Threads of one process use a mutex, or a client each.
    ///
    /// # Errors
    /// `deadline` when the time is over; `usage` if `name` isn't a valid one; `invalid` if this client holds the lock or waits for
    /// it, or others take it with another number of places; `busy` past the limit of locks; `denied`; `broker_lost`.
    pub fn lock(&self, name: &str) -> Result<LockGuard> {
        self.locking(name).take()
    }

    /// A lock to be taken in another way than with the defaults.
    pub fn locking(&self, name: &str) -> Locking {
        Locking::by(self.clone(), name)
    }
}

impl<C> Locking<C> {
    /// A lock for a client.
    pub(crate) fn by(client: C, name: &str) -> Self {
        let name = ServiceName::parse(name).map_err(|error| misnamed("lock", name, &error));
        Self { client, name, places: 1, timeout: None }
    }

    /// The client, the lock, and what it is to ask for.
    ///
    /// # Errors
    /// `usage` if the name isn't valid, or there is no place.
    pub(crate) fn into_request(self, wait: bool) -> Result<(C, ServiceName, Operated)> {
        let Self { client, name, places, timeout } = self;
        let name = name?;
        if places == 0 {
            return Err(Error::new(ErrorCode::USAGE, "a lock has at least one place"));
        }
        let request = control::Lock { name: name.clone(), places, wait };
        Ok((client, name, Operated::of::<operation::Lock>(&request, timeout)?))
    }

    /// How many may hold the lock at once; 1 without this. All who take it must agree.
    pub fn places(mut self, places: u32) -> Self {
        self.places = places;
        self
    }

    /// How long to wait for it: 1 ms to 1 h, other values are moved to the nearer end.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl Locking {
    /// Takes the lock, and waits for it.
    ///
    /// # Errors
    /// As [`Client::lock`].
    pub fn take(self) -> Result<LockGuard> {
        self.ask(true)
    }

    /// Takes the lock if it is free now; `None` if it is not.
    ///
    /// # Errors
    /// As [`Client::lock`]; `busy` past the limit of locks is `None` too.
    pub fn try_take(self) -> Result<Option<LockGuard>> {
        none_if_busy(self.ask(false))
    }

    fn ask(self, wait: bool) -> Result<LockGuard> {
        let (client, name, asked) = self.into_request(wait)?;
        let mut ticket = client.calls().submit(&asked.outgoing())?;
        let mut guard = LockGuard { connection: ticket.connection().clone(), name, is_released: true };
        let outcome = ticket.wait(None);
        // Without a word of the broker it may have been granted meanwhile. What is given up is told so, and given back behind that.
        guard.is_released = matches!(&outcome, Err(error) if error.retry() == Retry::Safe);
        decode_answer::<operation::Lock>(&outcome?)?;
        Ok(guard)
    }
}

impl LockGuard {
    /// Whether the lock is still held: its connection lives, as far as this process can know. Asks the system, not the broker.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.is_released && self.connection.is_alive()
    }

    /// The name of the lock.
    #[must_use]
    pub fn name(&self) -> &ServiceName {
        &self.name
    }

    /// Gives the lock back, and waits until the broker has taken it: what dropping it doesn't.
    ///
    /// # Errors
    /// `broker_lost` if the connection had ended, and the lock with it; `no_service` if the broker knows of no such holder.
    pub fn release(mut self) -> Result<()> {
        let mut ticket = self.give_back()?;
        decode_answer::<operation::Unlock>(&ticket.wait(None)?).map(drop)
    }

    fn give_back(&mut self) -> Result<Ticket> {
        self.is_released = true;
        Ticket::on(&self.connection, &unlocking(&self.name)?.outgoing())
    }
}

/// What gives a lock back.
///
/// # Errors
/// None that can happen.
pub(crate) fn unlocking(name: &ServiceName) -> Result<Operated> {
    Operated::of::<operation::Unlock>(&control::Unlock { name: name.clone() }, None)
}

/// What trying to take a lock has come to.
pub(crate) fn none_if_busy<G>(taken: Result<G>) -> Result<Option<G>> {
    match taken {
        Ok(guard) => Ok(Some(guard)),
        Err(error) if error.code() == ErrorCode::BUSY => Ok(None),
        Err(error) => Err(error),
    }
}

/// Becomes readable when the connection ends, or anything else arrives on it: ask [`LockGuard::is_held`] then, which reads that.
impl AsFd for LockGuard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if !self.is_released {
            let _ = self.give_back(); // a connection that takes no more has ended, and the lock with it
        }
    }
}

impl<C> fmt::Debug for Locking<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, places, timeout, .. } = self;
        f.debug_struct("Locking").field("name", name).field("places", places).field("timeout", timeout).finish()
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LockGuard").field(&self.name).finish()
    }
}
