//! One socket and its session, shared by threads. No thread of its own: a thread that waits reads.
//!
//! # Who reads
//! The [`Receiver`] is the right to read. It lies in [`State`] while no thread reads. A thread that waits for its reply takes it, polls,
//! reads, hands replies out, and puts it back when its own has come. Other waiting threads park, each under the id of its call.
//!
//! # Locks
//! There is one lock for each connection, and every system call under it is non-blocking; `poll` and `park` happen outside. A thread
//! that holds it takes no other lock of this crate, so the order is: the client's lock, then a connection's lock, then nothing.
//!
//! # No lost wake-up
//! - A parked thread is in `parked` from before the lock is released until after it is taken again, and both park(3) and eventfd(2)
//!   keep a wake-up that comes early. A call that ends is looked up there in the same critical section.
//! - When the receiver is put back while threads are parked, one of them is woken to take it ([`State::hand_over`]). Every way
//!   out of [`Connection::wait`] goes through there, also that of a thread which was woken for it and doesn't need it by then.
//! - A thread whose frame has not left waits for the socket to become writable instead of parking; nothing can be owed to it yet,
//!   except the end of the connection, which wakes poll(2) too.

mod listening;
mod reading;
mod state;
mod streaming;
pub(crate) mod waker;

use std::{
    fmt, io,
    num::NonZeroU64,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Mutex,
    time::Instant,
};

use ipc_protocol::{
    ErrorCode, Hello, PeerNumber, Retry,
    transport::poll::{self, PollFd, PollFlags},
};

pub(crate) use self::{listening::Heard, reading::Receiver, streaming::Patient};
use self::{
    state::{Locked, State},
    waker::Waker,
};
use super::{
    channel,
    socket::{GATHER, HIGH_WATER},
    wire::Wire,
};
use crate::{
    error::Result,
    request::Response,
    session::{Frames, Loss, Outcome, Outgoing, Patience, Role, Serial, Session},
};

/// Whether a frame leaves at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// With everything queued before it.
    AtOnce,
    /// When enough have gathered, or when a thread waits.
    Gathered,
}

/// Why a wait is over.
enum Waited<T = Outcome> {
    /// What was waited for is here.
    Ended(T),
    TimeIsUp,
    Interrupted,
}

/// What a flush found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flushed {
    Well,
    /// The connection takes no more; calls may have ended.
    Failed,
}

/// How long a thread waits, and for what else.
#[derive(Clone, Copy)]
struct Wait<'a> {
    patience: Patience,
    /// An earlier end of the wait, not of the call.
    at_most: Option<Instant>,
    interrupt: Option<BorrowedFd<'a>>,
}

impl Wait<'_> {
    fn until(&self, session: &Session) -> Instant {
        let until = session.until(self.patience);
        self.at_most.map_or(until, |at_most| at_most.min(until))
    }
}

/// One connection to a broker.
pub(crate) struct Connection {
    wire: Wire,
    /// Where the broker is, for error texts.
    place: String,
    state: Mutex<State>,
}

impl Connection {
    /// A connection over a connected stream socket. Nothing is written yet: hello leaves with the first call.
    pub(crate) fn new(socket: OwnedFd, place: String, agent: &str, role: Role) -> Self {
        Self::over(Wire::Socket(socket), place, agent, role)
    }

    /// A connection over an end of a channel.
    pub(crate) fn of_channel(end: channel::End, agent: &str, role: Role) -> Self {
        Self::over(Wire::Channel(end), channel::PLACE.to_owned(), agent, role)
    }

    fn over(wire: Wire, place: String, agent: &str, role: Role) -> Self {
        let state = State::new(Session::new(Hello::new(agent), role, Instant::now()), Receiver::new());
        Self { wire, place, state: Mutex::new(state) }
    }

    /// Starts a call. `None` if it could not leave on this connection, which is dead then: it may go to another.
    ///
    /// # Errors
    /// `too_large`, `deadline` if the socket took nothing until then, `usage` on the thread that reads for a service.
    pub(crate) fn submit(&self, call: &Outgoing<'_>, departure: Departure, now: Instant) -> Result<Option<Serial>> {
        self.begin(call, departure, now).map(|(_, id)| id)
    }

    /// Starts a call from the thread that reads for life, which takes its end with [`Connection::take`] in a later turn. `None` as for
    /// [`Connection::submit`].
    ///
    /// # Errors
    /// As [`Connection::submit`].
    pub(crate) fn submit_from_reader(&self, call: &Outgoing<'_>, now: Instant) -> Result<Option<Serial>> {
        let (mut state, id) = self.begin_locked(self.lock(), call, Departure::Gathered, now)?;
        self.flush(&mut state);
        Ok(id.filter(|id| !state.session.reclaim(*id)))
    }

    /// As [`Connection::submit_from_reader`], but the call leaves together with the next one.
    ///
    /// # Errors
    /// As [`Connection::submit`].
    pub(crate) fn gather_from_reader(&self, call: &Outgoing<'_>, now: Instant) -> Result<Option<Serial>> {
        self.begin_locked(self.lock(), call, Departure::Gathered, now).map(|(_, id)| id)
    }

    /// Takes how a call ended, without waiting.
    pub(crate) fn take(&self, id: Serial) -> Option<Outcome> {
        self.lock().session.take(id)
    }

    /// Starts a call and waits for its end: less work than one after the other. `None` as for [`Connection::submit`].
    ///
    /// # Errors
    /// As [`Connection::submit`], and what the call ended with.
    pub(crate) fn exchange(&self, call: &Outgoing<'_>, departure: Departure, now: Instant) -> Result<Option<Response>> {
        let (state, id) = self.begin(call, departure, now)?;
        let Some(id) = id else { return Ok(None) };
        let wait = Wait { patience: Patience::new(now, call.timeout_ms), at_most: None, interrupt: None };
        let until = wait.until(&state.session);
        // It has left, so its end can only come from a read: there is nothing to look for before.
        let has_left = state.session.unsent() == 0 && state.session.takes_more();
        let state = if has_left { self.round(state, id, until, None).0 } else { state };
        self.finish(state, id, wait).map(Some)
    }

    /// Starts a ping. `None` as for [`Connection::submit`].
    ///
    /// # Errors
    /// `usage` on the thread that reads for a service.
    pub(crate) fn ping(&self, patience: Patience) -> Result<Option<Serial>> {
        let mut state = self.lock();
        state.refuse_reading_thread()?;
        Ok(state.session.ping().and_then(|id| self.send_now(state, id, patience).1))
    }

    /// Waits for the end of a call: `deadline` when the time has come, `cancelled` when `interrupt` is readable.
    pub(crate) fn wait(&self, id: Serial, patience: Patience, interrupt: Option<BorrowedFd<'_>>) -> Outcome {
        self.finish(self.lock(), id, Wait { patience, at_most: None, interrupt })
    }

    /// Waits for the end of a call until `at_most` or `interrupt`, and leaves it under way if it has not come by then.
    pub(crate) fn wait_until(
        &self,
        id: Serial,
        patience: Patience,
        at_most: Option<Instant>,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Option<Outcome> {
        let wait = Wait { patience, at_most, interrupt };
        let (mut state, waited) = self.rounds_of_call(self.lock(), id, wait);
        state.hand_over();
        match waited {
            Waited::Ended(outcome) => Some(outcome),
            Waited::TimeIsUp | Waited::Interrupted => None,
        }
    }

    /// Gives a call up: the broker is told, without waiting for anything.
    pub(crate) fn abandon(&self, id: Serial) {
        let mut state = self.lock();
        let gathered = state.session.end();
        state.session.abandon(id, ErrorCode::CANCELLED);
        if state.session.end() > gathered {
            self.flush(&mut state);
        }
        state.hand_over();
    }

    /// Writes what has gathered, and tells whether all of it has left: not if the time has come or the connection ended before.
    pub(crate) fn flush_all(&self, until: Instant) -> bool {
        let state = self.lock();
        if state.session.unsent() == 0 {
            return state.session.takes_more();
        }
        let end = state.session.end();
        let state = self.send(state, end, Some(until));
        state.session.takes_more() && state.session.has_left(end)
    }

    /// Answers delivered calls with one write; waits only while more than [`HIGH_WATER`] bytes are unsent.
    pub(crate) fn answer(&self, answers: &mut Frames) {
        let mut state = self.lock();
        state.session.answer(answers);
        self.flush(&mut state);
        while state.session.unsent() > HIGH_WATER {
            state = self.wait_writable(state, None);
        }
    }

    /// Answers one delivered call and waits until the answer has left.
    pub(crate) fn answer_one(&self, answer: &mut Frames) {
        let mut state = self.lock();
        let end = state.session.answer(answer);
        drop(self.send(state, end, None));
    }

    /// Ends the calls made on behalf of a delivered call, which has ended itself.
    pub(crate) fn end_nested(&self, parent: NonZeroU64, reason: ErrorCode) {
        let mut state = self.lock();
        state.end_nested(parent, reason);
        self.flush(&mut state);
    }

    /// When a call is given up here.
    pub(crate) fn until(&self, patience: Patience) -> Instant {
        self.lock().session.until(patience)
    }

    /// Deadline of a call that names none, in milliseconds.
    pub(crate) fn call_default_ms(&self) -> u32 {
        self.lock().session.call_default_ms()
    }

    /// Ends the connection: calls under way end with `broker_lost`.
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

    /// Whether the connection lives, after a look at what the broker has sent meanwhile.
    pub(crate) fn is_alive(&self) -> bool {
        let mut state = self.lock();
        self.catch_up(&mut state);
        self.flush(&mut state) == Flushed::Well && state.session.takes_more()
    }

    /// Where the broker is.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// What to say of a call that could not leave.
    pub(crate) fn ended_before(&self) -> String {
        let unsaid = || format!("the connection to the broker at {} ended before the call was sent", self.place);
        self.loss().map_or_else(unsaid, |loss| loss.text)
    }

    fn lock(&self) -> Locked<'_> {
        Locked::new(&self.state)
    }

    fn begin(&self, call: &Outgoing<'_>, departure: Departure, now: Instant) -> Result<(Locked<'_>, Option<Serial>)> {
        let state = self.lock();
        state.refuse_reading_thread()?;
        self.begin_locked(state, call, departure, now)
    }

    fn begin_locked<'a>(
        &'a self,
        mut state: Locked<'a>,
        call: &Outgoing<'_>,
        departure: Departure,
        now: Instant,
    ) -> Result<(Locked<'a>, Option<Serial>)> {
        if state.session.is_behind(now) {
            self.catch_up(&mut state);
        }
        let id = state.session.call(now, call)?;
        match id {
            Some(id) if departure == Departure::AtOnce || state.session.unsent() >= GATHER => {
                Ok(self.send_now(state, id, Patience::new(now, call.timeout_ms)))
            }
            _ => Ok((state, id)),
        }
    }

    /// Waits for the end of a call, or gives it up.
    fn finish<'a>(&'a self, state: Locked<'a>, id: Serial, wait: Wait<'_>) -> Outcome {
        let (mut state, waited) = self.rounds_of_call(state, id, wait);
        let outcome = match waited {
            Waited::Ended(outcome) => outcome,
            Waited::TimeIsUp => self.give_up(&mut state, id, ErrorCode::DEADLINE),
            Waited::Interrupted => self.give_up(&mut state, id, ErrorCode::CANCELLED),
        };
        state.hand_over();
        outcome
    }

    /// Waits until a call has ended or there is a reason to stop.
    fn rounds_of_call<'a>(&'a self, mut state: Locked<'a>, id: Serial, wait: Wait<'_>) -> (Locked<'a>, Waited) {
        if let Err(misuse) = state.refuse_reading_thread() {
            let outcome = state.session.abandon(id, ErrorCode::CANCELLED).unwrap_or(Err(misuse));
            return (state, Waited::Ended(outcome));
        }
        self.rounds(state, id, wait, |session| session.take(id))
    }

    /// Waits, reading or parked, until `take` finds something or there is a reason to stop. `id` is what the thread is woken for.
    fn rounds<'a, T>(
        &'a self,
        mut state: Locked<'a>,
        id: Serial,
        wait: Wait<'_>,
        mut take: impl FnMut(&mut Session) -> Option<T>,
    ) -> (Locked<'a>, Waited<T>) {
        let (mut interrupted, mut has_waited) = (false, false);
        loop {
            if let Some(taken) = take(&mut state.session) {
                return (state, Waited::Ended(taken)); // what has gathered goes on gathering: nothing had to be waited for
            }
            if interrupted {
                return (state, Waited::Interrupted);
            }
            let until = wait.until(&state.session);
            // Not before the first round: an answer that is here already counts, whenever it is fetched.
            if has_waited && Instant::now() >= until {
                return (state, Waited::TimeIsUp);
            }
            if self.flush(&mut state) == Flushed::Failed {
                continue; // which may have ended the call
            }
            (state, interrupted) = self.round(state, id, until, wait.interrupt);
            has_waited = true;
        }
    }

    /// Gives a call up whose end was waited for in vain. The broker is told at once.
    fn give_up(&self, state: &mut State, id: Serial, reason: ErrorCode) -> Outcome {
        let outcome = state.give_up(id, reason);
        self.flush(state);
        outcome
    }

    /// One wait of a thread that has a call under way: reading if no other thread does, else parked. Tells whether it was interrupted.
    fn round<'a>(
        &'a self,
        mut state: Locked<'a>,
        id: Serial,
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

    /// Sends everything up to a call that was just started. `None` if it could not leave.
    fn send_now<'a>(&'a self, mut state: Locked<'a>, id: Serial, patience: Patience) -> (Locked<'a>, Option<Serial>) {
        let flushed = self.flush(&mut state);
        if flushed == Flushed::Well && state.session.unsent() == 0 {
            return (state, Some(id));
        }
        let (end, until) = (state.session.end(), state.session.until(patience));
        let mut state = self.send(state, end, Some(until));
        let has_left = !state.session.reclaim(id);
        (state, has_left.then_some(id))
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
        let polled = poll::wait(&mut [PollFd::new(&self.wire, PollFlags::OUT)], until);
        state = self.lock();
        if let Err(error) = polled {
            self.lose(&mut state, &format!("waiting failed: {error}"));
        }
        self.flush(&mut state);
        state
    }

    /// Writes what the socket takes now. When it will never take more, what the broker said last is read first: it may have said
    /// why.
    fn flush(&self, state: &mut State) -> Flushed {
        let Err(error) = self.transmit(&mut state.session) else { return Flushed::Well };
        self.catch_up(state);
        state.session.unwritable(&self.ended(&error.to_string()));
        state.wake_all();
        Flushed::Failed
    }

    /// Writes until everything is written or the socket takes no more.
    fn transmit(&self, session: &mut Session) -> io::Result<()> {
        self.wire.transmit(session)
    }

    fn lose(&self, state: &mut State, reason: &str) {
        let text = self.ended(reason);
        state.session.lost(Loss { code: ErrorCode::BROKER_LOST, text, written: Retry::Unknown });
        self.shut_down();
        state.wake_all();
    }

    fn ended(&self, reason: &str) -> String {
        format!("the connection to the broker at {} ended ({reason})", self.place)
    }

    /// Wakes a thread that is in poll(2) on this socket; the broker sees the end of the connection.
    fn shut_down(&self) {
        self.wire.shut_down();
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire.as_fd()
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

#[cfg(test)]
mod tests;
