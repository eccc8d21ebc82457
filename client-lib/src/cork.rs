//! Lets calls gather before they leave.

use std::{
    fmt,
    time::{Duration, Instant},
};

use ipc_protocol::ErrorCode;

use crate::{
    error::{Error, Result},
    line::{Line, gone},
};

/// While this lives, calls that are started gather: see [`Client::cork`](crate::Client::cork).
#[must_use = "calls gather only while it lives"]
pub struct Corked<'a> {
    line: &'a Line,
}

impl<'a> Corked<'a> {
    pub(crate) fn new(line: &'a Line) -> Self {
        line.cork();
        Self { line }
    }

    /// Sends what has gathered, and returns when it has left.
    ///
    /// # Errors
    /// `broker_lost` if the connection ended before, `deadline` if the broker took nothing for 30 s. What each call ended with, its
    /// [`Pending`](crate::Pending) says.
    pub fn flush(&self) -> Result<()> {
        let connection = self.line.connection();
        if connection.flush_all(Instant::now() + FLUSH) {
            return Ok(());
        }
        match connection.loss() {
            Some(loss) => Err(Error::new(ErrorCode::BROKER_LOST, loss.text)),
            None if !connection.takes_more() => Err(gone(&connection)),
            None => {
                let text = format!("the broker at {} takes nothing of what is sent", connection.place());
                Err(Error::new(ErrorCode::DEADLINE, text))
            }
        }
    }
}

impl fmt::Debug for Corked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Corked").field(&self.line.connection()).finish()
    }
}

/// Waits as [`Corked::flush`] does: calls that are not waited for would stay here otherwise.
impl Drop for Corked<'_> {
    fn drop(&mut self) {
        self.line.uncork();
        drop(self.flush());
    }
}

/// How long a cork waits for the socket to take what has gathered.
const FLUSH: Duration = Duration::from_secs(30);
