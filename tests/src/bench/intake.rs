//! The received bytes of one connection, and all that the benches do with a socket: wait in `poll` and read, or write everything.

use std::{
    io,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// Bytes that were received and not yet consumed.
#[derive(Debug)]
pub(crate) struct Intake {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Intake {
    /// The initial capacity, which doubles when a frame does not fit.
    pub(crate) const LEN: usize = 64 * 1024;

    /// An empty intake with a capacity of `len` bytes.
    pub(crate) fn new(len: usize) -> Self {
        Self { buffer: vec![0; len], start: 0, end: 0 }
    }

    /// Waits in `poll`, then reads once. Zero is the end of the stream.
    ///
    /// A client that waits in `read` is woken once too often, when its peer has emptied the buffer.
    pub(crate) fn wait_and_read(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        wait_readable(socket, None)?;
        self.read(socket)
    }

    /// Reads once. Zero is the end of the stream.
    pub(crate) fn read(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.make_room();
        let len = retry(|| rustix::io::read(socket, &mut self.buffer[self.end..]))?;
        self.end += len;
        Ok(len)
    }

    /// Removes `len` bytes from the front.
    pub(crate) fn consume(&mut self, len: usize) {
        self.start += len;
    }

    /// What was received and not consumed.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && self.end > self.buffer.len() / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(2 * self.end, 0);
        }
    }
}

/// Writes all of `bytes` to a blocking socket, with a single write if the kernel takes them at once.
pub(crate) fn write_all(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let len = retry(|| rustix::io::write(socket, bytes))?;
        bytes = &bytes[len..];
    }
    Ok(())
}

/// Writes a handshake's request and reads until the answer is complete.
///
/// # Errors
/// `TimedOut` if the answer is not complete after five seconds.
pub(crate) fn exchange(
    socket: BorrowedFd<'_>,
    request: &[u8],
    complete: impl Fn(&[u8]) -> bool,
) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + Duration::from_secs(5);
    write_all(socket, request)?;
    let mut intake = Intake::new(8 * 1024);
    while !complete(intake.bytes()) {
        wait_readable(socket, Some(deadline.saturating_duration_since(Instant::now())))?;
        if intake.read(socket)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(intake.bytes().to_vec())
}

fn wait_readable(socket: BorrowedFd<'_>, patience: Option<Duration>) -> io::Result<()> {
    let timeout = patience.map(|patience| Timespec::try_from(patience).expect("seconds fit"));
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
    match retry(|| poll(&mut fds, timeout.as_ref()))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}
