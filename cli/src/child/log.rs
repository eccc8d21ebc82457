//! Our standard error as the log of the commands that we run.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use crate::child::{Interest, ready};

/// What becomes of a command's standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    /// It appears on ours.
    Pass,
    /// It is dropped (`-q`).
    Drop,
}

/// The longest write that can't block on a pipe with room (PIPE_BUF, pipe(7)).
const PIECE: usize = 4096;

/// Keeps two threads from counting on the same room in the pipe.
static WRITING: Mutex<()> = Mutex::new(());

impl Log {
    /// Passes on what a command wrote. If the reader is too slow, text is lost rather than a call delayed.
    pub(crate) fn pass(self, bytes: &[u8]) {
        if self == Self::Drop {
            return;
        }
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let stderr = io::stderr();
        for piece in bytes.chunks(PIECE) {
            let Ok([true]) = ready([(Some(&stderr), Interest::Write)], Some(Instant::now())) else { return };
            if rustix::io::write(&stderr, piece).is_err() {
                return;
            }
        }
    }
}
