//! Standard output: messages, one a line.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use crate::{exit::Exit, mcp::message, term};

/// Where all messages go, each as a whole.
#[derive(Debug, Default)]
pub(super) struct Outlet(Mutex<()>);

impl Outlet {
    /// Writes a message. A client that reads no more ends this process: there is no other purpose.
    pub(super) fn say(&self, message: &Value) {
        let line = message::line(message);
        let _writing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if term::write_all(io::stdout(), line.as_bytes()).is_err() {
            Exit::BROKEN_PIPE.leave();
        }
    }
}
