//! Waiting for what a subscription tells: by a thread, or in the program's own loop.

use std::{os::fd::BorrowedFd, time::Instant};

use ipc_protocol::transport::Bell;

use super::{Connection, Wait, Waited};
use crate::{
    error::Result,
    session::{Loss, Patience, Serial, Taken},
};

/// What a wait for a subscription brought.
pub(crate) enum Heard {
    /// It tells this.
    Taken(Taken),
    /// The connection is gone, and so is the subscription. All that came before was told.
    Lost(Loss),
    TimeIsUp,
    Interrupted,
}

impl Connection {
    /// Waits for the next thing that a subscription tells.
    ///
    /// # Errors
    /// `usage` on the thread that reads for a service, if there is nothing to tell yet.
    pub(crate) fn listen(
        &self,
        id: Serial,
        until: Option<Instant>,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Result<Heard> {
        let mut state = self.lock();
        let taken = state.session.take_event(id);
        if let Some(bell) = state.bells.get(&id).cloned()
            && state.session.is_told(id)
        {
            bell.silence(); // it rings again for whatever comes next
        }
        if let Some(taken) = taken {
            return Ok(Heard::Taken(taken));
        }
        state.refuse_reading_thread()?;
        // No deadline of a call: the wait ends in some weeks at most, and is begun anew then.
        let wait = Wait { patience: Patience::new(Instant::now(), u32::MAX), at_most: until, interrupt };
        let (mut state, waited) = self.rounds(state, id, wait, |session| match session.take_event(id) {
            Some(taken) => Some(Heard::Taken(taken)),
            None => session.loss().cloned().map(Heard::Lost),
        });
        state.hand_over();
        Ok(match waited {
            Waited::Ended(heard) => heard,
            Waited::TimeIsUp => Heard::TimeIsUp,
            Waited::Interrupted => Heard::Interrupted,
        })
    }

    /// Has a bell ring when a call ends or a subscription has something to tell, and for what it may have missed.
    pub(crate) fn ring_for(&self, id: Serial, bell: &Bell) {
        self.lock().bells.insert(id, bell.clone());
        bell.ring();
    }

    /// Gives a subscription up. The broker is told, without waiting for anything.
    pub(crate) fn unsubscribe(&self, id: Serial) {
        let mut state = self.lock();
        state.bells.remove(&id);
        state.session.unsubscribe(id);
        self.flush(&mut state);
        state.hand_over();
    }
}
