//! A service that runs on a thread of its own.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, ThreadId},
};

use ipc_protocol::{ErrorCode, PeerNumber, transport::Bell};

use super::{
    Stopper,
    life::{Life, no_eventfd},
    offer::Offer,
    workers::no_thread,
};
use crate::{
    client::Client,
    error::{Error, Result},
};

/// A service that runs on threads of its own. Dropping it stops the service and waits for its end.
///
/// Its descriptor is readable once the service has ended, whatever it ended for: a program with a loop of its own waits for it there,
/// and stops it with its [`Stopper`], which waits for nothing.
pub struct Serving {
    shared: Arc<Shared>,
    client: Client,
    stopper: Stopper,
    threads: usize,
    reading_thread: ThreadId,
}

struct Shared {
    result: Mutex<Option<Result<()>>>,
    changed: Condvar,
    ended: Bell,
}

impl Serving {
    /// The thread that is going to read registers, so that there is one when the first call comes.
    pub(super) fn start(offer: Offer, stopper: Option<Stopper>) -> Result<Self> {
        let ended = Bell::new().map_err(no_eventfd)?;
        let shared = Arc::new(Shared { result: Mutex::new(None), changed: Condvar::new(), ended });
        let ((begun, beginning), told) = (mpsc::channel(), shared.clone());
        let live = move || match Life::begin(offer, stopper) {
            Ok(life) => {
                let _ = begun.send(Ok((life.client().clone(), life.stopper().clone(), life.threads()))); // received below
                told.end(life.run());
            }
            Err(error) => drop(begun.send(Err(error))),
        };
        let thread = thread::Builder::new().name("ipc-read".to_owned()).spawn(live).map_err(no_thread)?;
        let panicked = || Error::new(ErrorCode::INTERNAL, "the thread that registers the service has panicked");
        let (client, stopper, threads) = beginning.recv().unwrap_or_else(|_| Err(panicked()))?;
        Ok(Self { shared, client, stopper, threads, reading_thread: thread.thread().id() })
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

    /// Threads for the methods that are not quick: fewer than were asked for if the system has no more.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
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
