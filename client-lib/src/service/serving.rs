//! A service that runs on a thread of its own.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
};

use ipc_protocol::{PeerNumber, transport::Bell};

use super::{
    Stopper,
    life::{Life, no_eventfd},
    pool::no_thread,
};
use crate::{client::Client, error::Result};

/// A service that runs on threads of its own. Dropping it stops the service and waits for its end.
///
/// Its descriptor is readable once the service has ended, whatever it ended for: a program with a loop of its own waits for it there,
/// and stops it with its [`Stopper`], which waits for nothing.
pub struct Serving {
    shared: Arc<Shared>,
    client: Client,
    stopper: Stopper,
    reading_thread: ThreadId,
}

struct Shared {
    result: Mutex<Option<Result<()>>>,
    changed: Condvar,
    ended: Bell,
}

impl Serving {
    pub(super) fn start(life: Life) -> Result<Self> {
        let ended = Bell::new().map_err(no_eventfd)?;
        let shared = Arc::new(Shared { result: Mutex::new(None), changed: Condvar::new(), ended });
        let (client, stopper, told) = (life.client().clone(), life.stopper().clone(), shared.clone());
        let thread = thread::Builder::new()
            .name("ipc-read".to_owned())
            .spawn(move || told.end(life.run()))
            .map_err(no_thread)?;
        Ok(Self { shared, client, stopper, reading_thread: thread.thread().id() })
    }

    /// Stops the service as [`Stopper::stop`] does, and waits for its end; a quick method of the service itself does not wait.
    ///
    /// Not for a method on the pool: it would wait up to 5 s for its own end. [`Serving::stopper`] has one that does not wait.
    pub fn stop(&self) {
        self.stopper.stop();
        if thread::current().id() != self.reading_thread {
            drop(self.wait());
        }
    }

    /// Stops the service without waiting for its end.
    #[must_use]
    pub fn stopper(&self) -> &Stopper {
        &self.stopper
    }

    /// Waits until the service has ended.
    ///
    /// # Errors
    /// Why it could not register again after the broker died. A service that was stopped ended well.
    pub fn wait(&self) -> Result<()> {
        let mut result = self.shared.result();
        loop {
            if let Some(result) = &*result {
                return result.clone();
            }
            result = self.shared.changed.wait(result).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The number under which the service can be called directly, as `@17`. Another one after a reconnect.
    #[must_use]
    pub fn peer(&self) -> PeerNumber {
        self.client.number()
    }

    /// A client on the service's connection, for calls from any thread but the one that reads. While the broker is away, calls end
    /// with `unavailable`.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl Shared {
    fn end(&self, result: Result<()>) {
        *self.result() = Some(result);
        self.changed.notify_all();
        self.ended.ring();
    }

    fn result(&self) -> MutexGuard<'_, Option<Result<()>>> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Serving {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.ended.as_fd()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("client", &self.client).finish_non_exhaustive()
    }
}
