//! What the futures of a connection share under its lock.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    mem,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use ipc_protocol::{
    ServiceName, Violation,
    limits::MAX_BODY,
    transport::{Inbox, ReadBuffer},
};

use super::super::{locked, socket::HIGH_WATER};
use crate::session::{Serial, Session};

pub(super) struct State {
    pub(super) session: Session,
    pub(super) inbox: Inbox,
    pub(super) buffer: ReadBuffer,
    waiting: HashMap<Serial, Waiting>,
    /// When the driver has something to do for one of them; it may be earlier than that.
    pub(super) due: Option<Instant>,
    /// The driver, while it sleeps.
    driver: Option<Waker>,
    /// What takes the calls that a service is given.
    inbound: Option<Waker>,
    /// Locks that are held by this connection, or asked for.
    pub(super) claimed: HashSet<ServiceName>,
    /// To be called when the lock is released.
    wake: Vec<Waker>,
}

/// A future that waits.
struct Waiting {
    waker: Waker,
    wait: Wait,
    due: Option<Instant>,
}

/// What a future waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    /// The end of a call, no longer than until this time.
    Call(Instant),
    /// An event.
    Event,
    /// Something of the streams of a call; the other side is shown now and then that this one is there.
    Flow { id: Serial, sign: Duration },
}

impl State {
    pub(super) fn new(session: Session) -> Self {
        Self {
            session,
            inbox: Inbox::new(MAX_BODY),
            buffer: ReadBuffer::new(),
            waiting: HashMap::new(),
            due: None,
            driver: None,
            inbound: None,
            claimed: HashSet::new(),
            wake: Vec::new(),
        }
    }

    /// Whether to read: not while the broker takes nothing of what is written, so that answers to what it sends cannot pile up without
    /// end.
    pub(super) fn wants_input(&self) -> bool {
        self.session.unsent() <= HIGH_WATER
    }

    /// Has a future woken when there is something for it. What is waited for is named by `id`.
    pub(super) fn wait(&mut self, context: &Context<'_>, id: Serial, wait: Wait) {
        let due = match wait {
            Wait::Call(until) => Some(until),
            Wait::Event => None,
            Wait::Flow { sign, .. } => Some(Instant::now() + sign),
        };
        match self.waiting.entry(id) {
            Entry::Occupied(mut waiting) => {
                let waiting = waiting.get_mut();
                if !waiting.waker.will_wake(context.waker()) {
                    self.wake.push(mem::replace(&mut waiting.waker, context.waker().clone()));
                }
                if let Wait::Call(_) = wait {
                    waiting.due = due; // the sign of a stream comes as it was due before
                }
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Waiting { waker: context.waker().clone(), wait, due });
            }
        }
        if let Some(due) = due
            && self.due.is_none_or(|earliest| due < earliest)
        {
            self.due = Some(due);
            self.wake_driver();
        }
    }

    /// Forgets the future that waits for this.
    pub(super) fn forget(&mut self, id: Serial) -> Option<Waker> {
        self.waiting.remove(&id).map(|waiting| waiting.waker)
    }

    /// Wakes the future that waits for this, if one does.
    pub(super) fn wake(&mut self, id: Serial) {
        let waker = self.forget(id);
        self.wake.extend(waker);
    }

    /// Wakes all, for the connection has ended.
    pub(super) fn wake_all(&mut self) {
        self.wake.extend(mem::take(&mut self.waiting).into_values().map(|waiting| waiting.waker));
        self.wake.extend(self.inbound.take());
        self.wake_driver();
    }

    /// Has the driver take a turn.
    pub(super) fn wake_driver(&mut self) {
        self.wake.extend(self.driver.take());
    }

    /// The driver is here. Its waker is that of a task, so it is always the same.
    pub(super) fn driver_is(&mut self, context: &Context<'_>) {
        if self.driver.is_none() {
            self.driver = Some(context.waker().clone());
        }
    }

    /// Has a future woken when a service is given something.
    pub(super) fn wait_for_inbound(&mut self, context: &Context<'_>) {
        let old = self.inbound.replace(context.waker().clone());
        self.wake.extend(old.filter(|old| !old.will_wake(context.waker())));
    }

    /// Takes what was read. The futures whose calls have ended are woken.
    ///
    /// # Errors
    /// As [`Session::receive`].
    pub(super) fn receive(&mut self) -> Result<(), Violation> {
        let Self { session, inbox, waiting, wake, .. } = self;
        session.receive(inbox, |id| wake.extend(waiting.remove(&id).map(|waiting| waiting.waker)))?;
        if session.has_inbound() {
            wake.extend(self.inbound.take());
        }
        Ok(())
    }

    /// Does what is due: shows the other sides of streams that this one is there, and wakes all whose time it is. Who still waits then
    /// comes back.
    pub(super) fn sweep(&mut self, now: Instant) {
        let is_due = |waiting: &Waiting| waiting.due.is_some_and(|due| due <= now);
        let due: Vec<Serial> = self.waiting.iter().filter(|(_, waiting)| is_due(waiting)).map(|(id, _)| *id).collect();
        for id in due {
            if let Some(Waiting { wait: Wait::Flow { id, .. }, .. }) = self.waiting.get(&id) {
                self.session.sign_of_life(*id);
            }
            self.wake(id);
        }
        self.due = self.waiting.values().filter_map(|waiting| waiting.due).min();
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
