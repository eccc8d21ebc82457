//! Waiting for items and for credit.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use ipc_protocol::{Encoding, ErrorCode};

use super::{connection::Connection, state::Wait};
use crate::{
    error::Result,
    session::{Flowed, Outcome, Payload, Sending, Serial},
};

impl Connection {
    /// The next item of a stream, or its end.
    pub(crate) fn poll_item(&self, context: &Context<'_>, id: Serial, sign: Duration) -> Poll<Flowed> {
        let mut state = self.wire.lock();
        let Some(flowed) = state.session.take_item(id) else {
            state.wait(context, id, Wait::Flow { id, sign });
            return Poll::Pending;
        };
        self.wire.depart_together(&mut state); // credit for what was taken
        Poll::Ready(flowed)
    }

    /// Sends an item, if the other side allows one. It leaves at the driver's next turn, with those that follow.
    ///
    /// # Errors
    /// Why it can't be sent any more.
    pub(crate) fn poll_send(
        &self,
        context: &Context<'_>,
        id: Serial,
        (encoding, body): (Encoding, &[u8]),
        sign: Duration,
    ) -> Poll<Result<()>> {
        let mut state = self.wire.lock();
        match state.session.send_item(id, encoding, Payload::Borrowed(body)) {
            Sending::Queued => {
                self.wire.depart_together(&mut state);
                Poll::Ready(Ok(()))
            }
            Sending::Over(error) => Poll::Ready(Err(error)),
            Sending::NotAllowed => {
                let seat = state.session.sender_of(id);
                state.wait(context, seat, Wait::Flow { id, sign });
                Poll::Pending
            }
        }
    }

    /// How a call with streams has ended.
    pub(crate) fn poll_flow_end(&self, context: &Context<'_>, id: Serial, sign: Duration) -> Poll<Outcome> {
        let mut state = self.wire.lock();
        if let Some(outcome) = state.session.take(id) {
            return Poll::Ready(outcome);
        }
        state.wait(context, id, Wait::Flow { id, sign });
        Poll::Pending
    }

    /// Ends this side's items.
    pub(crate) fn finish_items(&self, id: Serial, error: Option<(ErrorCode, &str)>) {
        let mut state = self.wire.lock();
        state.session.finish_items(id, error);
        self.wire.depart_together(&mut state);
    }

    /// Whether an item of a call was sent or has come.
    pub(crate) fn has_flowed(&self, id: Serial) -> bool {
        self.wire.lock().session.has_flowed(id)
    }

    /// The streams of a delivered call, if it has any and isn't over.
    pub(crate) fn delivered_flow(&self, number: u64) -> Option<Serial> {
        self.wire.lock().session.delivered_flow(number)
    }

    /// Allows the caller of a delivered call the first items.
    pub(crate) fn welcome_items(&self, id: Serial) {
        let mut state = self.wire.lock();
        state.session.welcome_items(id);
        self.wire.depart_together(&mut state);
    }

    /// Forgets the streams of a call. Futures that wait for them are told that they are over.
    pub(crate) fn close_flow(&self, id: Serial) {
        let mut state = self.wire.lock();
        let sender = state.session.sender_of(id);
        state.session.close_flow(id);
        state.wake(id);
        state.wake(sender);
    }
}
