//! Standard input, cut into lines.

use std::{io, time::Instant};

use ipc_client::poll::{self, PollFd, PollFlags};

use super::{calls::Calls, desk::Desk};

/// What was read and isn't a whole line yet.
#[derive(Debug, Default)]
pub(super) struct Stdin {
    begun: Vec<u8>,
    /// Whether the line is too long to be kept, so that its rest is dropped.
    is_too_long: bool,
}

impl Stdin {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Gives the desk each line, until the input ends. Meanwhile calls that take long show that they run.
    pub(super) fn read_all(&mut self, desk: &Desk, calls: &Calls) -> io::Result<()> {
        let stdin = io::stdin();
        let mut buffer = vec![0; READ];
        loop {
            let until = calls.beat(Instant::now());
            let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
            poll::wait(&mut ready, until)?;
            if ready.iter().all(|stdin| stdin.revents().is_empty()) {
                continue;
            }
            match rustix::io::read(&stdin, &mut buffer) {
                Ok(0) => {
                    desk.take(&std::mem::take(&mut self.begun)); // a last line without its end
                    return Ok(());
                }
                Ok(read) => self.add(buffer.get(..read).unwrap_or_default(), desk),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn add(&mut self, bytes: &[u8], desk: &Desk) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.is_too_long {
                self.begun.extend_from_slice(piece);
            }
            if self.begun.len() > LONGEST_LINE {
                (self.begun, self.is_too_long) = (Vec::new(), true);
            }
            if !piece.ends_with(b"\n") {
                return;
            }
            if std::mem::take(&mut self.is_too_long) {
                desk.refuse_line(LONGEST_LINE);
            } else {
                desk.take(&std::mem::take(&mut self.begun));
            }
        }
    }
}

/// As much as a pipe holds.
const READ: usize = 64 << 10;
/// Bytes of a line: what a model writes is a thousandth of it.
const LONGEST_LINE: usize = 4 << 20;
