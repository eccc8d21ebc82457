//! One socket and its session, shared by threads. No thread of its own: whoever waits reads.
//!
//! # Who reads
//! The [`Receiver`] is the right to read. It lies in [`State`] while nobody reads. A thread that waits for its reply takes it, polls,
//! reads, hands replies out, and puts it back when its own has come. Other waiting threads park, each under the id of its call.
//!
//! # Locks
//! There is one lock for each connection, and every system call under it is non-blocking; `poll` and `park` happen outside. A thread
//! that holds it takes no other lock of this crate, so the order is: the client's lock (which may be held while a socket is
//! connected), then a connection's lock, then nothing.
//!
//! # No lost wake-up
//! - A parked thread is in `parked` from before the lock is released until after it is taken again, and both park(3) and eventfd(2)
//!   keep a wake-up that comes early. A call that ends is looked up there in the same critical section.
//! - When the receiver is put back while threads are parked, one of them is woken to take it ([`State::hand_over`]). Every way
//!   out of [`Connection::wait`] goes through there, also that of a thread which was woken for it and has no use for it any more.
//! - A thread whose frame has not left waits for the socket to become writable instead of parking; nothing can be owed to it yet,
//!   except the end of the connection, which wakes poll(2) too.

mod reading;
mod state;
pub(crate) mod waker;

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Mutex,
    time::{Duration, Instant},
};

use ipc_protocol::{Call, ErrorCode, Hello, Message, PeerNumber, Retry};
use rustix::{
    event::{PollFd, PollFlags},
    net::Shutdown,
};

pub(crate) use self::reading::Receiver;
use self::{
    state::{HIGH_WATER, Locked, State},
    waker::{Waker, poll},
};
use crate::{
    error::Error,
    session::{CallId, Loss, Outcome, Role, Session},
};

/// Whether a frame leaves at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// With everything queued before it.
    AtOnce,
    /// When enough have gathered, or when anybody waits.
    Gathered,
}

/// Why a wait is over.
enum Waited {
    Ended(Outcome),
    TimeIsUp,
    Interrupted,
}

/// One connection to a broker.
pub(crate) struct Connection {
    socket: OwnedFd,
    /// Where the broker is, for error texts.
    place: String,
    state: Mutex<State>,
}

impl Connection {
    /// A connection over a connected stream socket. Nothing is written yet: hello leaves with the first call.
    pub(crate) fn new(socket: OwnedFd, place: String, agent: &str, role: Role) -> Self {
        let state = State::new(Session::new(Hello::new(agent), role), Receiver::new());
        Self { socket, place, state: Mutex::new(state) }
    }

    /// Starts a call. `None` if it could not leave on this connection, which is dead then: it may go to another.
    ///
    /// # Errors
    /// `too_large`, `deadline` if the socket took nothing until then, `usage` on the thread that reads for a service.
    pub(crate) fn submit(
        &self,
        call: &mut Call,
        departure: Departure,
        now: Instant,
        until: Instant,
    ) -> Result<Option<CallId>, Error> {
        let mut state = self.lock();
        state.refuse_reading_thread()?;
        // After a pause the broker may have said goodbye; and unread ends of many calls must not pile up on its side.
        if now.saturating_duration_since(state.touched) > PAUSE || state.unheard >= CROWD {
            self.catch_up(&mut state);
        }
        state.touched = now;
        state.unheard += 1;
        let Some(id) = state.session.call(call)? else { return Ok(None) };
        if departure == Departure::AtOnce || state.session.unsent() >= GATHER {
            let end = state.session.end();
            let mut state = self.send(state, end, Some(until));
            return Ok((!state.session.reclaim(id)).then_some(id));
        }
        Ok(Some(id))
    }

    /// Starts a one-way call and a ping behind it, whose end says that the broker has dealt with the call. `None` as for
    /// [`Connection::submit`].
    ///
    /// # Errors
    /// As [`Connection::submit`].
    pub(crate) fn one_way(
        &self,
        call: &mut Call,
        now: Instant,
        until: Instant,
    ) -> Result<Option<(CallId, CallId)>, Error> {
        let Some(id) = self.submit(call, Departure::Gathered, now, until)? else { return Ok(None) };
        let ping = self.ping(until)?;
        let mut state = self.lock();
        if state.session.reclaim(id) {
            return Ok(None);
        }
        match ping {
            Some(ping) => Ok(Some((id, ping))),
            // The call left and the ping did not: nobody knows what became of it, unless the broker said so.
            None => match state.session.abandon(id, ErrorCode::CANCELLED) {
                Some(Err(error)) => Err(error),
                Some(Ok(_)) | None => Err(Error::new(ErrorCode::BROKER_LOST, self.ended("the call may have run"))),
            },
        }
    }

    /// Starts a ping. `None` as for [`Connection::submit`].
    ///
    /// # Errors
    /// `usage` on the thread that reads for a service.
    pub(crate) fn ping(&self, until: Instant) -> Result<Option<CallId>, Error> {
        let mut state = self.lock();
        state.refuse_reading_thread()?;
        let Some(id) = state.session.ping() else { return Ok(None) };
        let end = state.session.end();
        let mut state = self.send(state, end, Some(until));
        Ok((!state.session.reclaim(id)).then_some(id))
    }

    /// Waits for the end of a call: `deadline` when the time has come, `cancelled` when `interrupt` is readable.
    pub(crate) fn wait(&self, id: CallId, until: Instant, interrupt: Option<BorrowedFd<'_>>) -> Outcome {
        let (mut state, waited) = self.rounds(id, until, interrupt);
        let outcome = match waited {
            Waited::Ended(outcome) => outcome,
            Waited::TimeIsUp => self.give_up(&mut state, id, ErrorCode::DEADLINE),
            Waited::Interrupted => self.give_up(&mut state, id, ErrorCode::CANCELLED),
        };
        state.hand_over();
        outcome
    }

    /// Waits for the end of a call until `until`, and leaves it under way if it has not come by then.
    pub(crate) fn wait_until(&self, id: CallId, until: Instant) -> Option<Outcome> {
        let (mut state, waited) = self.rounds(id, until, None);
        state.hand_over();
        match waited {
            Waited::Ended(outcome) => Some(outcome),
            Waited::TimeIsUp | Waited::Interrupted => None,
        }
    }

    /// Gives a call up: the broker is told, without waiting for anything.
    pub(crate) fn abandon(&self, id: CallId) {
        let mut state = self.lock();
        if state.session.abandon(id, ErrorCode::CANCELLED).is_none() {
            self.flush(&mut state);
        }
        state.hand_over();
    }

    /// Takes how a call ended, without waiting.
    pub(crate) fn take(&self, id: CallId) -> Option<Outcome> {
        self.lock().session.take(id)
    }

    /// Writes what has gathered, as far as the socket takes it now.
    pub(crate) fn flush_now(&self) {
        let mut state = self.lock();
        self.flush(&mut state);
    }

    /// Answers delivered calls with one write; waits only while more than [`HIGH_WATER`] bytes are unsent.
    pub(crate) fn answer(&self, answers: &mut Vec<Message>) {
        let mut state = self.lock();
        for answer in answers.drain(..) {
            state.session.answer(answer);
        }
        self.flush(&mut state);
        while state.session.unsent() > HIGH_WATER {
            state = self.wait_writable(state, None);
        }
    }

    /// Answers one delivered call and waits until the answer has left.
    pub(crate) fn answer_one(&self, answer: Message) {
        let mut state = self.lock();
        let end = state.session.answer(answer);
        drop(self.send(state, end, None));
    }

    /// Ends the connection: whoever waits hears `broker_lost`.
    pub(crate) fn close(&self, reason: &str) {
        let mut state = self.lock();
        self.lose(&mut state, reason);
    }

    /// Why the connection is gone, if it is.
    pub(crate) fn loss(&self) -> Option<Loss> {
        self.lock().session.loss().cloned()
    }

    /// The own number, once the broker has told it.
    pub(crate) fn peer(&self) -> Option<PeerNumber> {
        self.lock().session.welcome().map(|welcome| welcome.peer)
    }

    /// Whether calls can be started.
    pub(crate) fn takes_more(&self) -> bool {
        self.lock().session.takes_more()
    }

    /// Where the broker is.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    fn lock(&self) -> Locked<'_> {
        Locked::new(&self.state)
    }

    /// Waits, reading or parked, until a call has ended or there is a reason to stop.
    fn rounds(&self, id: CallId, until: Instant, interrupt: Option<BorrowedFd<'_>>) -> (Locked<'_>, Waited) {
        let mut state = self.lock();
        if let Err(misuse) = state.refuse_reading_thread() {
            let outcome = state.session.abandon(id, ErrorCode::CANCELLED).unwrap_or(Err(misuse));
            return (state, Waited::Ended(outcome));
        }
        let (mut interrupted, mut has_waited) = (false, false);
        loop {
            if let Some(outcome) = state.session.take(id) {
                return (state, Waited::Ended(outcome)); // what has gathered goes on gathering: nobody has had to wait
            }
            if interrupted {
                return (state, Waited::Interrupted);
            }
            // Not before the first round: an answer that is here already counts, whenever it is fetched.
            if has_waited && Instant::now() >= until {
                return (state, Waited::TimeIsUp);
            }
            self.flush(&mut state);
            if let Some(outcome) = state.session.take(id) {
                return (state, Waited::Ended(outcome)); // the flush found the connection dead
            }
            (state, interrupted) = self.round(state, id, until, interrupt);
            has_waited = true;
        }
    }

    /// Gives a call up whose end was waited for in vain. The broker is told at once.
    fn give_up(&self, state: &mut State, id: CallId, reason: ErrorCode) -> Outcome {
        let outcome = state.give_up(id, reason);
        self.flush(state);
        outcome
    }

    /// One wait of a thread that has a call under way: reading if nobody else does, else parked. Tells whether it was interrupted.
    fn round<'a>(
        &'a self,
        mut state: Locked<'a>,
        id: CallId,
        until: Instant,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> (Locked<'a>, bool) {
        if let Some(receiver) = state.receiver.take() {
            return self.read_round(state, receiver, Some(until), interrupt);
        }
        if state.session.is_unsent(id) {
            return (self.wait_writable(state, Some(until)), false);
        }
        let waker = match Waker::of_this_thread(interrupt) {
            Ok(waker) => waker,
            Err(error) => {
                self.lose(&mut state, &format!("waiting failed: {error}"));
                return (state, false);
            }
        };
        state.parked.insert(id, waker.clone());
        drop(state);
        let slept = waker.sleep(until, interrupt);
        let mut state = self.lock();
        state.parked.remove(&id);
        if let Err(error) = &slept {
            self.lose(&mut state, &format!("waiting failed: {error}"));
        }
        (state, slept.unwrap_or(false))
    }

    /// Writes until everything up to `end` has left, the time has come, or the connection is dead.
    fn send<'a>(&'a self, mut state: Locked<'a>, end: u64, until: Option<Instant>) -> Locked<'a> {
        self.flush(&mut state);
        while !state.session.has_left(end) && until.is_none_or(|until| Instant::now() < until) {
            state = match state.receiver.take() {
                Some(receiver) => {
                    let (mut state, _) = self.read_round(state, receiver, until, None);
                    self.flush(&mut state);
                    state.hand_over();
                    state
                }
                None => self.wait_writable(state, until),
            };
        }
        state
    }

    /// Waits, without the lock, until the socket takes more, and writes.
    fn wait_writable<'a>(&'a self, mut state: Locked<'a>, until: Option<Instant>) -> Locked<'a> {
        drop(state);
        let polled = poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], until);
        state = self.lock();
        if let Err(error) = polled {
            self.lose(&mut state, &format!("waiting failed: {error}"));
        }
        self.flush(&mut state);
        state
    }

    /// Writes what the socket takes now. When it takes no more for ever, what the broker said last is read first: it may have said
    /// why.
    fn flush(&self, state: &mut State) {
        if let Err(error) = state.session.flush(self.socket.as_fd()) {
            self.catch_up(state);
            state.session.unwritable(&self.ended(&error.to_string()));
            state.wake_everybody();
        }
    }

    fn lose(&self, state: &mut State, reason: &str) {
        let text = self.ended(reason);
        state.session.lost(Loss { code: ErrorCode::BROKER_LOST, text, written: Retry::Unknown });
        self.shut_down();
        state.wake_everybody();
    }

    fn ended(&self, reason: &str) -> String {
        format!("the connection to the broker at {} ended ({reason})", self.place)
    }

    /// Wakes a thread that is in poll(2) on this socket; the broker sees the end of the connection.
    fn shut_down(&self) {
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both); // fails if the broker was first, which is as good
    }
}

impl Drop for Connection {
    /// Closing is not enough to end a connection over an inherited descriptor: the original stays open.
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Bytes after which gathered calls leave: the broker reads that much of a connection at a time.
const GATHER: usize = 32 * 1024;
/// After so long without a call, what came meanwhile is read before the next.
const PAUSE: Duration = Duration::from_millis(100);
/// After so many calls without a read, what came is read before the next: the broker cuts a peer that does not read.
const CROWD: usize = 256;
#[cfg(test)]
mod tests;
