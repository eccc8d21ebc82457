//! Our standard error as the log of the commands we run.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use crate::child::{Interest, ready};

/// Whether what a command writes on standard error appears on ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    /// It does.
    Pass,
    /// It does not (`-q`).
    Drop,
}

/// Most bytes of one write to a pipe that has room which cannot block (PIPE_BUF, pipe(7)).
const PIECE: usize = 4096;

/// Keeps two threads from finding the same room in the pipe.
static WRITING: Mutex<()> = Mutex::new(());

impl Log {
    /// Passes on what a command wrote. A reader that is too slow loses text rather than stop a call.
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
