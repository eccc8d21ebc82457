//! Locks for futures.

use std::{fmt, sync::Arc, time::Instant};

use ipc_protocol::{ErrorCode, Retry, ServiceName, control::operation};

use super::client::AsyncClient;
use crate::{
    error::{Error, Result},
    link::tokio::{Connection, Ticket},
    lock::{Locking, none_if_busy, unlocking},
    session::outgoing::{Operated, decode_answer},
};

/// A place of a lock that a future holds. Dropping it gives the place back. What is said of a [`LockGuard`](crate::LockGuard) holds here as
/// well; what must not run without the lock is raced with [`AsyncLockGuard::lost`].
///
/// ```
/// # use ipc_client::AsyncClient;
/// # let broker = ipc_client::testing::broker()?;
/// # let address = broker.address();
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let client = AsyncClient::connect_to(&address).await?;
/// # let other = AsyncClient::connect_to(&address).await?;
/// let guard = client.lock("backup").await?;
/// assert!(other.locking("backup").try_take_async().await?.is_none());
/// tokio::select! {
///     () = async { /* the backup */ } => {}
///     error = guard.lost() => return Err(error), // another process may hold it now
/// }
/// drop(guard);
/// # Ok::<(), ipc_client::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it gives the lock back"]
pub struct AsyncLockGuard {
    connection: Arc<Connection>,
    name: ServiceName,
    is_released: bool,
}

impl AsyncClient {
    /// Takes a lock, and waits for it in order of arrival, up to the broker's default: 30 s unless it is configured otherwise. A future
    /// that is dropped before has not taken it.
    ///
    /// A lock belongs to a connection, which all tasks with this client share: a task that asks for a lock that another one holds or waits
    /// for gets `invalid`. Tasks of one process use a mutex, or a client each.
    ///
    /// # Errors
    /// As [`Client::lock`](crate::Client::lock).
    pub async fn lock(&self, name: &str) -> Result<AsyncLockGuard> {
        self.locking(name).take_async().await
    }

    /// A lock to be taken in another way than with the defaults.
    pub fn locking(&self, name: &str) -> Locking<Self> {
        Locking::by(self.clone(), name)
    }
}

impl Locking<AsyncClient> {
    /// Takes the lock, and waits for it.
    ///
    /// # Errors
    /// As [`Client::lock`](crate::Client::lock).
    pub async fn take_async(self) -> Result<AsyncLockGuard> {
        let (client, name, asked) = self.into_request(true)?;
        AsyncLockGuard::take(&client, &name, &asked).await
    }

    /// Takes the lock if it is free now; `None` if it is not.
    ///
    /// # Errors
    /// As [`Locking::try_take`](crate::Locking::try_take).
    pub async fn try_take_async(self) -> Result<Option<AsyncLockGuard>> {
        let (client, name, asked) = self.into_request(false)?;
        none_if_busy(AsyncLockGuard::take(&client, &name, &asked).await)
    }
}

impl AsyncLockGuard {
    /// Whether the lock is still held: its connection lives, as far as this process can know. Asks the system, not the broker.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.is_released && self.connection.is_alive()
    }

    /// Waits until the lock is lost, with its connection, and says why that ended.
    pub async fn lost(&self) -> Error {
        self.connection.lost().await
    }

    /// The name of the lock.
    #[must_use]
    pub fn name(&self) -> &ServiceName {
        &self.name
    }

    /// Gives the lock back, and waits until the broker has taken it: what dropping it doesn't.
    ///
    /// # Errors
    /// As [`LockGuard::release`](crate::LockGuard::release).
    pub async fn release(mut self) -> Result<()> {
        let mut ticket = self.give_back()?;
        decode_answer::<operation::Unlock>(&ticket.end().await?).map(drop)
    }

    async fn take(client: &AsyncClient, name: &ServiceName, asked: &Operated) -> Result<Self> {
        match Self::ask(client, name, asked).await {
            unsent if client.calls().is_unsent(&unsent) => Self::ask(client, name, asked).await,
            taken => taken,
        }
    }

    async fn ask(client: &AsyncClient, name: &ServiceName, asked: &Operated) -> Result<Self> {
        let call = asked.outgoing();
        let send = |connection: &Connection, now: Instant| {
            if !connection.claim(name) {
                let text = format!("this connection holds the lock '{name}' already, or waits for it");
                return Err(Error::new(ErrorCode::INVALID, text).with_retry(Retry::Safe));
            }
            let sent = client.calls().put(connection, now, call.clone());
            if !matches!(sent, Ok(Some(_))) {
                connection.disclaim(name);
            }
            sent
        };
        let asked = client.calls().submit(call.timeout_ms, send).await?;
        // It may be granted in the moment in which this future is dropped. Then the call is cancelled first, for what comes later is dropped
        // earlier, and what was granted is given back behind that. The claim sees to it that no other task has meant the same lock.
        let mut guard = Self { connection: asked.connection().clone(), name: name.clone(), is_released: false };
        let mut ticket = asked;
        let outcome = ticket.end().await;
        guard.is_released = matches!(&outcome, Err(error) if error.retry() == Retry::Safe);
        decode_answer::<operation::Lock>(&outcome?)?;
        Ok(guard)
    }

    fn give_back(&mut self) -> Result<Ticket> {
        self.is_released = true;
        Ticket::on(&self.connection, &unlocking(&self.name)?)
    }
}

impl Drop for AsyncLockGuard {
    fn drop(&mut self) {
        if !self.is_released {
            let _ = self.give_back(); // a connection that takes no more has ended, and the lock with it
        }
        self.connection.disclaim(&self.name);
    }
}

impl fmt::Debug for AsyncLockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncLockGuard").field(&self.name).finish()
    }
}
