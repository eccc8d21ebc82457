//! What the threads of a connection share under its lock.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    num::NonZeroU64,
    thread::{self, ThreadId},
};

use ipc_protocol::{
    ErrorCode, Violation,
    transport::{Bell, poll::PollFlags},
};

use super::{
    super::{locked, socket::HIGH_WATER},
    Receiver,
    waker::Waker,
};
use crate::{
    error::Error,
    session::{Outcome, Serial, Session},
};

pub(super) struct State {
    pub(super) session: Session,
    /// Absent while a thread reads.
    pub(super) receiver: Option<Box<Receiver>>,
    /// Threads that wait for a call and do not read, oldest call first.
    pub(super) parked: BTreeMap<Serial, Waker>,
    /// What rings when a subscription has something to tell, of those whose programs wait in loops of their own.
    pub(super) bells: HashMap<Serial, Bell>,
    /// Threads to wake when the lock is released.
    wake: Vec<Waker>,
    /// The thread that reads for life, on the connection of a service.
    pub(super) reading_thread: Option<ThreadId>,
}

impl State {
    pub(super) fn new(session: Session, receiver: Receiver) -> Self {
        Self {
            session,
            receiver: Some(Box::new(receiver)),
            parked: BTreeMap::new(),
            bells: HashMap::new(),
            wake: Vec::new(),
            reading_thread: None,
        }
    }

    /// What to poll for: not for input while the broker takes nothing of what is written, so that answers to what it sends cannot
    /// pile up without end.
    pub(super) fn interest(&self) -> PollFlags {
        match self.session.unsent() {
            0 => PollFlags::IN,
            unsent if unsent <= HIGH_WATER => PollFlags::IN | PollFlags::OUT,
            _ => PollFlags::OUT,
        }
    }

    pub(super) fn give_up(&mut self, id: Serial, reason: ErrorCode) -> Outcome {
        let text = match reason {
            ErrorCode::CANCELLED => "the caller was interrupted before the answer came",
            _ => "no answer came in time, not even from the broker: is it stopped, or overloaded?",
        };
        self.session.abandon(id, reason).unwrap_or_else(|| Err(Error::new(reason, text)))
    }

    /// Wakes one parked thread if no thread reads.
    pub(super) fn hand_over(&mut self) {
        if self.receiver.is_some()
            && let Some(waker) = self.parked.values().next()
        {
            self.wake.push(waker.clone());
        }
    }

    /// Takes what was read. The threads whose calls have ended are woken.
    ///
    /// # Errors
    /// As [`Session::receive`].
    pub(super) fn receive(&mut self, receiver: &mut Receiver) -> Result<(), Violation> {
        let Self { session, parked, bells, wake, .. } = self;
        session.receive(&mut receiver.inbox, |id| {
            wake.extend(parked.remove(&id));
            if !bells.is_empty() {
                bells.get(&id).into_iter().for_each(Bell::ring);
            }
        })
    }

    /// Ends the calls made on behalf of a delivered call.
    pub(super) fn end_nested(&mut self, parent: NonZeroU64, reason: ErrorCode) {
        let Self { session, parked, wake, .. } = self;
        session.end_nested(parent, reason, |id| wake.extend(parked.remove(&id)));
    }

    /// Wakes the thread that waits for this, if one does.
    pub(super) fn wake(&mut self, id: Serial) {
        let Self { parked, wake, .. } = self;
        wake.extend(parked.remove(&id));
    }

    pub(super) fn wake_all(&mut self) {
        self.wake.extend(mem::take(&mut self.parked).into_values());
        self.bells.values().for_each(Bell::ring);
    }

    /// The thread that reads for a service would wait for itself.
    pub(super) fn refuse_reading_thread(&self) -> Result<(), Error> {
        if self.reading_thread.is_some_and(|thread| thread == thread::current().id()) {
            let text =
                "a call from the thread that reads for the service would wait for itself; make it from a pooled method";
            return Err(Error::new(ErrorCode::USAGE, text));
        }
        Ok(())
    }
}

/// The lock of a connection.
pub(super) type Locked<'a> = locked::Locked<'a, State>;

impl locked::Shared for State {
    type Waker = Waker;

    fn to_wake(&mut self) -> &mut Vec<Waker> {
        &mut self.wake
    }

    fn wake(waker: Waker) {
        waker.wake();
    }
}
