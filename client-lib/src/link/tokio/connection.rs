//! A connection, as futures use it.

use std::{
    fmt,
    future::poll_fn,
    num::NonZeroU64,
    os::fd::OwnedFd,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use ipc_protocol::{ErrorCode, Hello, PeerNumber};
use tokio::{runtime::Handle, time};

use super::{super::dial::Dial, driver::Driver, state::Wait, wire::Wire};
use crate::{
    error::{Error, Result},
    session::{Frames, Inbound, Loss, Outcome, Outgoing, Patience, Role, Serial, Session, Taken},
};

/// One connection to a broker. Dropping it ends it, with its driver.
pub(crate) struct Connection {
    pub(super) wire: Arc<Wire>,
}

impl Connection {
    /// A connection over a connected stream socket, with a driver on this runtime. Hello leaves with the first call.
    ///
    /// # Errors
    /// `usage` outside of a runtime, `internal` if the socket can't be waited for.
    pub(crate) fn new(socket: OwnedFd, place: String, agent: &str, role: Role) -> Result<Self> {
        let no_runtime = |_| Error::new(ErrorCode::USAGE, "an async client is made and used on a tokio runtime");
        let runtime = Handle::try_current().map_err(no_runtime)?;
        let session = Session::new(Hello::new(agent), role, Instant::now());
        let wire = Wire::new(socket, place, session).map_err(|error| Error::host("wait for a socket", error))?;
        let wire = Arc::new(wire);
        runtime.spawn(Driver::new(wire.clone()));
        Ok(Self { wire })
    }

    /// Connects. Waits up to `patience`, and no longer than the dial's own, for a broker that is too busy to accept: it is asked again
    /// and again, for connect(2) has nothing to wait for.
    ///
    /// # Errors
    /// `unavailable` if no broker listens there, `denied` if the socket may not be opened or belongs to a stranger; as
    /// [`Connection::new`].
    pub(crate) async fn dial(dial: &Dial, patience: Duration, role: Role) -> Result<Self> {
        let until = Instant::now() + patience.min(dial.longest());
        loop {
            match dial.open(Duration::ZERO) {
                Ok(socket) => return Self::new(socket, dial.place(), dial.name(), role),
                Err(error) if is_crowded(&error) && Instant::now() < until => time::sleep(AGAIN).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Lets the driver write and read between crowds of calls, for the broker cuts a peer that does not read.
    /// Waits until another call may be queued, no longer than the call may take: a broker that takes nothing is sent no more than 1 MiB.
    ///
    /// # Errors
    /// `deadline`.
    pub(crate) async fn room(&self, patience: Patience) -> Result<()> {
        let mut has_yielded = false;
        poll_fn(|context| {
            let mut state = self.wire.lock();
            if has_yielded || !state.session.is_crowded() {
                return Poll::Ready(());
            }
            has_yielded = true;
            state.wake_driver();
            drop(state);
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        let has_room = || {
            let state = self.wire.lock();
            self.wire.has_room(&state.session)
        };
        while !has_room() {
            let mut told = pin!(self.wire.room.notified());
            told.as_mut().enable();
            let until = patience.until(self.call_default_ms());
            if !has_room() && time::timeout_at(until.into(), told).await.is_err() {
                let text = "the broker takes nothing of what is sent: is it stopped, or overloaded?";
                return Err(Error::new(ErrorCode::DEADLINE, text));
            }
        }
        Ok(())
    }

    /// Starts a call. `None` if it could not leave on this connection, which is dead then: it may go to another.
    ///
    /// # Errors
    /// `too_large`.
    pub(crate) fn submit(&self, call: &Outgoing<'_>, now: Instant) -> Result<Option<Serial>> {
        let mut state = self.wire.lock();
        if state.session.is_stale(now) {
            self.wire.catch_up(&mut state);
        }
        let Some(id) = state.session.call(now, call)? else { return Ok(None) };
        self.wire.depart(&mut state);
        Ok((!state.session.reclaim(id)).then_some(id))
    }

    /// Starts a ping. `None` as for [`Connection::submit`].
    pub(crate) fn ping(&self) -> Option<Serial> {
        let mut state = self.wire.lock();
        let id = state.session.ping()?;
        self.wire.depart(&mut state);
        (!state.session.reclaim(id)).then_some(id)
    }

    /// How a call has ended; `deadline` when it has taken too long.
    pub(crate) fn poll_end(&self, context: &Context<'_>, id: Serial, patience: Patience) -> Poll<Outcome> {
        let mut state = self.wire.lock();
        if let Some(outcome) = state.session.take(id) {
            return Poll::Ready(outcome);
        }
        let until = state.session.until(patience);
        if Instant::now() >= until {
            let text = "no answer came in time, not even from the broker: is it stopped, or overloaded?";
            let late = || Err(Error::new(ErrorCode::DEADLINE, text));
            let outcome = state.session.abandon(id, ErrorCode::DEADLINE).unwrap_or_else(late);
            state.wake(id); // which is this future, and forgets it
            self.wire.flush(&mut state);
            return Poll::Ready(outcome);
        }
        state.wait(context, id, Wait::Call(until));
        Poll::Pending
    }

    /// Gives a call up: the broker is told.
    pub(crate) fn abandon(&self, id: Serial) {
        let mut state = self.wire.lock();
        let waker = state.forget(id);
        let gathered = state.session.end();
        state.session.abandon(id, ErrorCode::CANCELLED);
        if state.session.end() > gathered {
            self.wire.depart(&mut state);
        }
        drop(state);
        drop(waker);
    }

    /// Waits until everything has left that was sent before, or never will.
    pub(crate) async fn flush(&self, until: Instant) -> Result<()> {
        let end = {
            let mut state = self.wire.lock();
            self.wire.flush(&mut state);
            state.session.end()
        };
        let has_left = || self.wire.lock().session.has_left(end);
        while !has_left() {
            let mut told = pin!(self.wire.room.notified());
            told.as_mut().enable();
            if !has_left() && time::timeout_at(until.into(), told).await.is_err() {
                return Err(Error::new(ErrorCode::DEADLINE, "the broker does not take what is written"));
            }
        }
        Ok(())
    }

    /// What a service is given, in order. `inbound` is empty before.
    ///
    /// # Errors
    /// The loss of the connection. All that came before was taken.
    pub(crate) fn poll_inbound(&self, context: &Context<'_>, inbound: &mut Vec<Inbound>) -> Poll<Result<(), Loss>> {
        let mut state = self.wire.lock();
        state.session.take_inbound(inbound);
        if !inbound.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if let Some(loss) = state.session.loss() {
            return Poll::Ready(Err(loss.clone()));
        }
        state.wait_for_inbound(context);
        Poll::Pending
    }

    /// Answers a delivered call; at once, or with what else the driver writes at its next turn.
    pub(crate) fn answer(&self, answers: &mut Frames, at_once: bool) {
        let mut state = self.wire.lock();
        state.session.answer(answers);
        if at_once {
            self.wire.flush(&mut state);
        }
        self.wire.depart_together(&mut state);
    }

    /// Ends the calls made on behalf of a delivered call, which has ended itself.
    pub(crate) fn end_nested(&self, parent: NonZeroU64, reason: ErrorCode) {
        let mut state = self.wire.lock();
        let (mut ended, gathered) = (Vec::new(), state.session.end());
        state.session.end_nested(parent, reason, |id| ended.push(id));
        ended.into_iter().for_each(|id| state.wake(id));
        if state.session.end() > gathered {
            self.wire.depart(&mut state);
        }
    }

    /// The next thing that a subscription tells.
    ///
    /// # Errors
    /// The loss of the connection. All that came before was told.
    pub(crate) fn poll_event(&self, context: &Context<'_>, id: Serial) -> Poll<Result<Taken, Loss>> {
        let mut state = self.wire.lock();
        if let Some(taken) = state.session.take_event(id) {
            return Poll::Ready(Ok(taken));
        }
        if let Some(loss) = state.session.loss() {
            return Poll::Ready(Err(loss.clone()));
        }
        state.wait(context, id, Wait::Event);
        Poll::Pending
    }

    /// Gives a subscription up. The broker is told.
    pub(crate) fn unsubscribe(&self, id: Serial) {
        let mut state = self.wire.lock();
        let waker = state.forget(id);
        state.session.unsubscribe(id);
        self.wire.depart(&mut state);
        drop(state);
        drop(waker);
    }

    /// Deadline of a call that names none, in milliseconds.
    pub(crate) fn call_default_ms(&self) -> u32 {
        self.wire.lock().session.call_default_ms()
    }

    /// Ends the connection: calls under way end with `broker_lost`. What was sent and not written is written if the socket takes it.
    pub(crate) fn close(&self, reason: &str) {
        let mut state = self.wire.lock();
        if state.session.loss().is_none() {
            self.wire.flush(&mut state);
            self.wire.lose(&mut state, reason);
        }
    }

    /// The own number, once the broker has told it.
    pub(crate) fn peer(&self) -> Option<PeerNumber> {
        self.wire.lock().session.welcome().map(|welcome| welcome.peer)
    }

    /// Whether calls can be started.
    pub(crate) fn takes_more(&self) -> bool {
        self.wire.lock().session.takes_more()
    }

    /// Where the broker is.
    pub(crate) fn place(&self) -> &str {
        &self.wire.place
    }

    /// What to say of a call that could not leave.
    pub(crate) fn ended_before(&self) -> String {
        let unsaid = || format!("the connection to the broker at {} ended before the call was sent", self.wire.place);
        self.wire.lock().session.loss().map_or_else(unsaid, |loss| loss.text.clone())
    }

    /// Waits for the end of a call.
    pub(super) async fn end_of(&self, id: Serial, patience: Patience) -> Outcome {
        poll_fn(|context| self.poll_end(context, id, patience)).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close("it was dropped here");
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("place", &self.wire.place).finish_non_exhaustive()
    }
}

/// Whether a broker is there and too busy to accept a connection.
fn is_crowded(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::TimedOut)
}

/// After so long a broker that was too busy is asked again.
const AGAIN: Duration = Duration::from_millis(5);
