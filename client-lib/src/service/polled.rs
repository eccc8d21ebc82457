//! A service in a loop of the program's own.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use ipc_protocol::PeerNumber;

use super::{
    Stopper,
    life::{Life, Wait},
};
use crate::{client::Client, description::Description, error::Result, link::readiness::Readiness};

/// A service without a thread that reads: the program's own loop waits for its descriptor, and takes a turn when it is readable or
/// when [`Polled::timeout`] is over. Quick methods run in the turn.
///
/// ```
/// use ipc_client::Service;
/// use rustix::event::{PollFd, PollFlags, poll};
///
/// # let broker = ipc_client::testing::broker()?;
/// # let address = broker.address();
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
    readiness: Readiness,
}

impl Polled {
    pub(super) fn new(life: Life) -> Result<Self> {
        let mut readiness = Readiness::new()?;
        for bell in [life.stopper().bell(), life.idle()] {
            readiness.add_edge(bell)?; // a stopper stays rung, and is dealt with once
        }
        readiness.follow(life.connection())?;
        Ok(Self { life, readiness })
    }

    /// Does what there is to do, without waiting: continues, or breaks once the service was stopped and has ended.
    ///
    /// # Errors
    /// Why the service could not register again after the broker died; it has ended then.
    pub fn turn(&mut self) -> Result<std::ops::ControlFlow<()>> {
        self.readiness.take_edges();
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
        self.readiness.follow(self.life.connection())?;
        Ok(std::ops::ControlFlow::Continue(()))
    }

    /// Says something else of the service from now on: what [`Service::described`](super::Service::described) says, completed by the types
    /// of typed methods. The next turn registers the service anew, if this is news: calls that run go on, those that wait at the broker
    /// for a free place end with `service_gone`, which is safe to retry, and who watches names sees this one go and come.
    pub fn describe(&mut self, description: Description) {
        self.life.describe(description);
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
}

impl AsFd for Polled {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.readiness.as_fd()
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
