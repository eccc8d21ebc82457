//! Where a call with streams runs: at first as it was sent, and once more in JSON if its service was built with other types and nothing of
//! the call is lost by that.
//!
//! ```text
//! first (bincode) --unsupported_encoding, no item was sent or came--> second (JSON)
//! ```
//!
//! A service refuses an encoding before it allows the first item (docs/protocol.md, "Fingerprints"), so that a sender waits until then and
//! holds nothing back. The half that meets the refusal makes the call again; the other one finds it there.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use ipc_protocol::{Encoding, ErrorCode, Retry};

use crate::{
    error::{Error, Result},
    session::Serial,
};

/// A connection that carries calls with streams.
pub(crate) trait Carrier {
    /// Deadline of a call that names none, in milliseconds.
    fn call_default_ms(&self) -> u32;
    /// Whether an item was sent or has come.
    fn has_flowed(&self, id: Serial) -> bool;
    /// Ends this side's items.
    fn finish(&self, id: Serial, error: Option<(ErrorCode, &str)>);
    /// Gives a call up, if it has not ended.
    fn give_up(&self, id: Serial);
    /// Forgets the streams of a call.
    fn close(&self, id: Serial);
}

/// One attempt of a call.
pub(crate) struct At<C> {
    pub(crate) connection: Arc<C>,
    pub(crate) id: Serial,
    /// Of typed items.
    pub(crate) encoding: Encoding,
    /// How often the other side is shown that this one is there, while it waits.
    pub(crate) sign: Duration,
}

impl<C: Carrier> At<C> {
    /// A call that was started just now, and ends after this time of silence; 0 is the broker's default.
    pub(crate) fn started(connection: Arc<C>, id: Serial, encoding: Encoding, idle_ms: u32) -> Self {
        let idle_ms = if idle_ms == 0 { connection.call_default_ms() } else { idle_ms };
        Self { connection, id, encoding, sign: sign_of(idle_ms) }
    }
}

/// Makes the call once more.
pub(crate) type Again<C> = Box<dyn FnOnce() -> Result<At<C>> + Send>;

/// A call of this side's own, or one that was delivered.
pub(crate) struct Course<C: Carrier> {
    first: At<C>,
    second: OnceLock<At<C>>,
    held: Mutex<Held<C>>,
    is_delivered: bool,
}

/// What another attempt takes.
struct Held<C> {
    again: Option<Again<C>>,
    /// How this side's items have ended, if they have.
    finished: Option<Option<(ErrorCode, String)>>,
}

impl<C: Carrier> Course<C> {
    /// A call that was started, and how to start it again.
    pub(crate) fn of_caller(first: At<C>, again: Option<Again<C>>) -> Self {
        Self::new(first, again, false)
    }

    /// A call that was delivered.
    pub(crate) fn of_delivered(first: At<C>) -> Self {
        Self::new(first, None, true)
    }

    fn new(first: At<C>, again: Option<Again<C>>, is_delivered: bool) -> Self {
        Self { first, second: OnceLock::new(), held: Mutex::new(Held { again, finished: None }), is_delivered }
    }

    /// The attempt that runs.
    pub(crate) fn at(&self) -> &At<C> {
        self.second.get().unwrap_or(&self.first)
    }

    /// Whether there may be another attempt: until the first item was sent or has come.
    #[cfg(feature = "tokio")]
    pub(crate) fn may_go_on(&self) -> bool {
        let mut held = self.held();
        if held.again.is_some() && self.first.connection.has_flowed(self.first.id) {
            held.again = None; // and with it the request
        }
        held.again.is_some()
    }

    /// Whether a call goes on that has ended in one attempt: there is another one, or is now.
    pub(crate) fn goes_on(&self, after: &At<C>, error: &Error) -> bool {
        if self.is_delivered || !std::ptr::eq(after, &self.first) {
            return false;
        }
        let mut held = self.held();
        if self.second.get().is_some() {
            return true;
        }
        let is_refused = error.code() == ErrorCode::UNSUPPORTED_ENCODING && error.retry() == Retry::Safe;
        if !is_refused || self.first.connection.has_flowed(self.first.id) {
            return false;
        }
        let Some(Ok(second)) = held.again.take().map(|again| again()) else { return false };
        if let Some(finished) = &held.finished {
            let error = finished.as_ref().map(|(code, text)| (*code, text.as_str()));
            second.connection.finish(second.id, error);
        }
        let is_set = self.second.set(second).is_ok();
        self.first.connection.give_up(self.first.id);
        self.first.connection.close(self.first.id); // the other half is woken, and finds the second
        is_set
    }

    /// Ends this side's items, also those of a later attempt.
    pub(crate) fn finish(&self, error: Option<(ErrorCode, &str)>) {
        let mut held = self.held();
        held.finished = Some(error.map(|(code, text)| (code, text.to_owned())));
        let at = self.at();
        at.connection.finish(at.id, error);
    }

    /// From now on nothing is sent or received.
    pub(crate) fn close(&self) {
        let at = self.at();
        at.connection.close(at.id);
    }

    fn held(&self) -> MutexGuard<'_, Held<C>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Dropping it ends the call, if that has not happened before.
impl<C: Carrier> Drop for Course<C> {
    fn drop(&mut self) {
        if !self.is_delivered {
            let at = self.at();
            at.connection.give_up(at.id);
        }
        self.close();
    }
}

impl<C: Carrier> fmt::Debug for Course<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Course").field("id", &self.at().id).finish_non_exhaustive()
    }
}

/// How often to show the other side of a call that this one is there: three times in the silence after which it would be given up.
pub(crate) fn sign_of(idle_ms: u32) -> Duration {
    (Duration::from_millis(u64::from(idle_ms)) / 3).max(SHORTEST)
}

/// Signs of life come no closer than this.
const SHORTEST: Duration = Duration::from_millis(5);
