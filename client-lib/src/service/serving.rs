//! A service that runs: its reading thread, its stop, its return after the broker died.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use ipc_protocol::{ErrorCode, PeerNumber, control::Empty};

use super::{offer::Offer, pool::Pool, running::Running, turns::Turns};
use crate::{
    client::Client,
    error::{Error, Result},
    link::backoff::Backoff,
    link::blocking::{Connection, Receiver},
    session::{Loss, Patience, patience::to_ms},
};

/// A service that runs on threads of its own. Dropping it stops the service.
pub struct Serving(Arc<Shared>);

struct Shared {
    offer: Offer,
    client: Client,
    status: Mutex<Status>,
    changed: Condvar,
}

struct Status {
    phase: Phase,
    /// Calls of the connection that is in use now.
    running: Arc<Running>,
    reading_thread: Option<ThreadId>,
}

#[derive(Clone, Debug)]
enum Phase {
    Serving,
    Stopping,
    Ended(Result<()>),
}

impl Serving {
    pub(super) fn start(offer: Offer) -> Result<Self> {
        let (shared, receiver, pool) = prepare(offer)?;
        let reading = shared.clone();
        thread::Builder::new()
            .name("ipc-read".to_owned())
            .spawn(move || reading.serve(receiver, &pool))
            .map_err(|error| Error::new(ErrorCode::INTERNAL, format!("a thread cannot be started: {error}")))?;
        Ok(Self(shared))
    }

    pub(super) fn run(offer: Offer) -> Result<()> {
        let (shared, receiver, pool) = prepare(offer)?;
        shared.serve(receiver, &pool);
        Self(shared).wait()
    }

    /// Gives the name back, so that calls go elsewhere, lets the calls that run end, at most 5 s, and closes the connection. Calls
    /// that are not answered by then end with `service_gone`.
    ///
    /// Not for a method of the service itself: it would wait for its own end.
    pub fn stop(&self) {
        if !self.0.begin_stop() {
            return;
        }
        let running = self.0.status().running.clone();
        let unregistered: Result<Empty> =
            self.0.client.control("unregister", &self.0.offer.unregister(), Some(UNREGISTER_TIMEOUT));
        let connection = self.0.client.connection();
        if unregistered.is_ok() {
            let until = Instant::now() + DRAIN;
            wait_until_read(&connection, until);
            running.wait_until_empty(until);
        }
        connection.close("the service was stopped");
        if !self.0.is_reading_thread() {
            drop(self.wait());
        }
    }

    /// Waits until the service has ended.
    ///
    /// # Errors
    /// Why it could not register again after the broker died. A service that was stopped ended well.
    pub fn wait(&self) -> Result<()> {
        let mut status = self.0.status();
        loop {
            if let Phase::Ended(result) = &status.phase {
                return result.clone();
            }
            status = self.0.changed.wait(status).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The number under which the service can be called directly, as `@17`. Another one after a reconnect.
    #[must_use]
    pub fn peer(&self) -> PeerNumber {
        self.0.client.peer()
    }

    /// A client on the service's connection, for calls from any thread but the one that reads. While the broker is away, calls end
    /// with `unavailable`.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.0.client
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("name", &self.0.offer.name).finish_non_exhaustive()
    }
}

/// Registers, and starts the pool. The right to read is taken before anybody else sees the connection.
fn prepare(offer: Offer) -> Result<(Arc<Shared>, Box<Receiver>, Pool)> {
    let connection = offer.register()?;
    let receiver = claim(&connection)?;
    let pool = Pool::start(offer.threads)?;
    let client = Client::of_service(connection);
    let status = Status { phase: Phase::Serving, running: Arc::default(), reading_thread: None };
    let shared = Shared { offer, client, status: Mutex::new(status), changed: Condvar::new() };
    Ok((Arc::new(shared), receiver, pool))
}

fn claim(connection: &Connection) -> Result<Box<Receiver>> {
    connection.claim().ok_or_else(|| Error::new(ErrorCode::INTERNAL, "a new connection has a reader already"))
}

/// Waits until the reading thread has begun, or answered, the calls that were read together with the answer to unregister: the pong
/// comes behind them, in a later turn.
fn wait_until_read(connection: &Connection, until: Instant) {
    let patience = Patience::new(Instant::now(), to_ms(until.saturating_duration_since(Instant::now())));
    if let Ok(Some(ping)) = connection.ping(patience) {
        drop(connection.wait(ping, patience, None));
    }
}

impl Shared {
    /// The life of the reading thread: one connection after the other.
    fn serve(&self, mut receiver: Box<Receiver>, pool: &Pool) {
        self.status().reading_thread = Some(thread::current().id());
        let result = loop {
            let running = self.status().running.clone();
            let loss =
                Turns::new(&self.offer, pool, &self.client, self.client.connection(), running).run(&mut receiver);
            match self.come_back(loss) {
                Ok(Some(next)) => receiver = next,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.status().phase = Phase::Ended(result);
        self.changed.notify_all();
    }

    /// Registers on a new connection. `None` if the service was stopped.
    fn come_back(&self, loss: Loss) -> Result<Option<Box<Receiver>>> {
        if !self.offer.dial.can_redial() {
            return if self.is_stopping() { Ok(None) } else { Err(Error::new(loss.code, loss.text)) };
        }
        let (mut backoff, began) = (Backoff::new(), Instant::now());
        loop {
            if !self.pause(backoff.pause()) {
                return Ok(None);
            }
            match self.offer.register() {
                Ok(connection) => {
                    let receiver = claim(&connection)?;
                    self.status().running = Arc::default();
                    let connection = self.client.publish(connection);
                    // A stop closes the connection that it finds; one that came too late for that is closed here.
                    if self.is_stopping() {
                        connection.close("the service was stopped");
                        return Ok(None);
                    }
                    return Ok(Some(receiver));
                }
                Err(error) if is_passing(&error, began.elapsed()) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sleeps, and tells whether to go on: not if the service is stopped meanwhile.
    fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut status = self.status();
        while matches!(status.phase, Phase::Serving) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            (status, _) = self.changed.wait_timeout(status, left).unwrap_or_else(PoisonError::into_inner);
        }
        false
    }

    /// False if it was stopped before, or has ended.
    fn begin_stop(&self) -> bool {
        let mut status = self.status();
        if !matches!(status.phase, Phase::Serving) {
            return false;
        }
        status.phase = Phase::Stopping;
        self.changed.notify_all();
        true
    }

    fn is_stopping(&self) -> bool {
        matches!(self.status().phase, Phase::Stopping)
    }

    fn is_reading_thread(&self) -> bool {
        self.status().reading_thread == Some(thread::current().id())
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether to try again: while there is no broker, or one that is overloaded or still busy with the death of the old connection.
fn is_passing(error: &Error, since: Duration) -> bool {
    match error.code() {
        ErrorCode::UNAVAILABLE | ErrorCode::BROKER_LOST | ErrorCode::BUSY | ErrorCode::DEADLINE => true,
        ErrorCode::NAME_TAKEN => since < NAME_TAKEN_PATIENCE,
        _ => false,
    }
}

/// How long the calls that run at a stop may take to end.
const DRAIN: Duration = Duration::from_secs(5);
/// The broker answers this itself.
const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long another owner of the name may be this service's own old connection.
const NAME_TAKEN_PATIENCE: Duration = Duration::from_secs(5);
