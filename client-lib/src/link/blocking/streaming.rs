//! Waiting for items and for credit.

use std::{
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use ipc_protocol::{Encoding, ErrorCode};

use super::{Connection, GATHER, Wait, Waited, state::Locked};
use crate::{
    error::{Error, Result},
    session::{Flowed, Patience, Payload, Sending, Serial},
};

/// How long a thread waits for a stream.
#[derive(Clone, Copy)]
pub(crate) struct Patient<'a> {
    pub(crate) until: Option<Instant>,
    pub(crate) interrupt: Option<BorrowedFd<'a>>,
    /// How often the other side is shown that this one is there.
    pub(crate) sign: Duration,
}

impl Connection {
    /// Waits for the next item of a stream, or for its end. `None` once the time has come.
    ///
    /// # Errors
    /// `cancelled` after an interrupt, `usage` on the thread that reads for a service.
    pub(crate) fn next_item(&self, id: Serial, patient: Patient<'_>) -> Result<Option<Flowed>> {
        let mut state = self.lock();
        if let Some(flowed) = state.session.take_item(id) {
            self.flush(&mut state);
            return Ok(Some(flowed));
        }
        self.await_flow(state, (id, id), patient, |session| session.take_item(id))
    }

    /// Sends an item, and returns when it has left; waits for credit first.
    ///
    /// # Errors
    /// Why it can't be sent any more; `deadline` if the time has come before, `cancelled` after an interrupt.
    pub(crate) fn send_item(
        &self,
        id: Serial,
        encoding: Encoding,
        body: &Payload<'_>,
        patient: Patient<'_>,
    ) -> Result<()> {
        let (state, end) = self.queue_item(id, encoding, body, patient)?;
        drop(self.send(state, end, patient.until));
        Ok(())
    }

    /// Sends an item that others follow at once. It leaves with them: when enough have gathered, before a wait for credit, or with
    /// [`Connection::send_gathered`].
    ///
    /// # Errors
    /// As [`Connection::send_item`].
    pub(crate) fn gather_item(
        &self,
        id: Serial,
        encoding: Encoding,
        body: &Payload<'_>,
        patient: Patient<'_>,
    ) -> Result<()> {
        let (state, end) = self.queue_item(id, encoding, body, patient)?;
        if state.session.unsent() >= GATHER {
            drop(self.send(state, end, patient.until));
        }
        Ok(())
    }

    /// Sends what has gathered, and returns when it has left.
    pub(crate) fn send_gathered(&self, until: Option<Instant>) {
        let state = self.lock();
        let end = state.session.end();
        drop(self.send(state, end, until));
    }

    /// Queues an item, as soon as there is credit for it. Says where the queue ends then.
    fn queue_item(
        &self,
        id: Serial,
        encoding: Encoding,
        body: &Payload<'_>,
        patient: Patient<'_>,
    ) -> Result<(Locked<'_>, u64)> {
        let try_it = |session: &mut crate::session::Session| match session.send_item(id, encoding, body.clone()) {
            Sending::Queued => Some(Ok(session.end())),
            Sending::Over(error) => Some(Err(error)),
            Sending::NotAllowed => None,
        };
        let mut state = self.lock();
        let sent = match try_it(&mut state.session) {
            Some(sent) => sent,
            None => {
                let seat = state.session.sender_of(id);
                let text = "the other side took no item in time";
                let late = || Error::new(ErrorCode::DEADLINE, text);
                let sent = self.await_flow(state, (id, seat), patient, try_it)?.ok_or_else(late)?;
                state = self.lock();
                sent
            }
        };
        Ok((state, sent?))
    }

    /// Ends this side's items, without waiting for anything.
    pub(crate) fn finish_items(&self, id: Serial, error: Option<(ErrorCode, &str)>) {
        let mut state = self.lock();
        state.session.finish_items(id, error);
        self.flush(&mut state);
        state.hand_over();
    }

    /// Whether an item of a call was sent or has come.
    pub(crate) fn has_flowed(&self, id: Serial) -> bool {
        self.lock().session.has_flowed(id)
    }

    /// The streams of a delivered call, if it has any and isn't over.
    pub(crate) fn delivered_flow(&self, number: u64) -> Option<Serial> {
        self.lock().session.delivered_flow(number)
    }

    /// Allows the caller of a delivered call the first items.
    pub(crate) fn welcome_items(&self, id: Serial) {
        let mut state = self.lock();
        state.session.welcome_items(id);
        self.flush(&mut state);
    }

    /// Shows the other side of a stream that this one is there.
    pub(crate) fn show_sign(&self, id: Serial) {
        let mut state = self.lock();
        state.session.sign_of_life(id);
        self.flush(&mut state);
    }

    /// Forgets the streams of a call. A thread that waits for them is told that they are over.
    pub(crate) fn close_flow(&self, id: Serial) {
        let mut state = self.lock();
        let sender = state.session.sender_of(id);
        state.session.close_flow(id);
        state.wake(id);
        state.wake(sender);
        state.hand_over();
    }

    /// Writes what this thread may have queued, if another thread reads: that one doesn't know of it, and what the other side waits for
    /// may be in it.
    fn drain<'a>(&'a self, mut state: Locked<'a>, until: Instant) -> Locked<'a> {
        self.flush(&mut state);
        while state.session.unsent() > 0 && state.receiver.is_none() && Instant::now() < until {
            state = self.wait_writable(state, Some(until));
        }
        state
    }

    /// Waits until `take` finds something, and shows the other side now and then that this one is there.
    fn await_flow<'a, T>(
        &'a self,
        mut state: Locked<'a>,
        (id, seat): (Serial, Serial),
        patient: Patient<'_>,
        mut take: impl FnMut(&mut crate::session::Session) -> Option<T>,
    ) -> Result<Option<T>> {
        state.refuse_reading_thread()?;
        loop {
            let now = Instant::now();
            let sign = now + patient.sign;
            let at_most = patient.until.map_or(sign, |until| until.min(sign));
            state = self.drain(state, at_most);
            let wait =
                Wait { patience: Patience::new(now, u32::MAX), at_most: Some(at_most), interrupt: patient.interrupt };
            let (mut after, waited) = self.rounds(state, seat, wait, &mut take);
            match waited {
                Waited::Ended(taken) => {
                    self.flush(&mut after); // credit for what was taken
                    after.hand_over();
                    return Ok(Some(taken));
                }
                Waited::Interrupted => {
                    after.hand_over();
                    let text = "the wait for a stream was interrupted";
                    return Err(Error::new(ErrorCode::CANCELLED, text));
                }
                Waited::TimeIsUp if patient.until.is_some_and(|until| Instant::now() >= until) => {
                    after.hand_over();
                    return Ok(None);
                }
                Waited::TimeIsUp => {
                    after.session.sign_of_life(id);
                    self.flush(&mut after);
                }
            }
            state = after;
        }
    }
}
