//! Reading: one buffer for all connections, a decoder for each.

use std::{io, os::fd::BorrowedFd};

use bytes::{Bytes, BytesMut};
use rustix::{
    io::Errno,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recv, recvmsg},
};

use crate::wire::{
    frame::{Decoder, Incoming, Violation},
    limits::MAX_FDS,
};

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Up to N bytes, at least one.
    Bytes(usize),
    /// Nothing has arrived.
    Nothing,
    /// The other side will send nothing more.
    End,
}

/// The memory that connections read into. Frames are slices of it, so it can be reused only when they are gone: at the end of a
/// turn, when everything has been written or copied out.
#[derive(Debug)]
pub struct ReadBuffer {
    free: BytesMut,
    /// With less room than this, no read is worth while.
    least: usize,
}

impl ReadBuffer {
    /// Bytes read from one connection at a time: the byte budget of a turn.
    pub const READ_LEN: usize = 32 * 1024;
    /// Bytes of the buffer: a few hundred small frames, or three full reads, before it is replaced.
    const LEN: usize = 4 * Self::READ_LEN;
    /// Bytes of the first buffer: a tool that makes one call and ends shouldn't pay for touching a large one.
    const FIRST_LEN: usize = 8 * 1024;

    /// A buffer; its memory is allocated at the first read.
    #[must_use]
    pub fn new() -> Self {
        Self { free: BytesMut::new(), least: 0 }
    }

    /// The next bytes of room, `READ_LEN` of them but for the first few reads. Taken from the same memory again as soon as no slice of it
    /// is left; otherwise from new memory, and the old goes with its last slice.
    fn room(&mut self) -> &mut [u8] {
        if self.free.capacity() == 0 {
            self.free = BytesMut::zeroed(Self::FIRST_LEN);
            self.least = Self::FIRST_LEN / 2;
        }
        if self.free.len() < self.least {
            self.free.clear();
            self.free.reserve(Self::LEN);
            self.free.resize(Self::LEN, 0);
            self.least = Self::READ_LEN;
        }
        let len = self.free.len().min(Self::READ_LEN);
        &mut self.free[..len]
    }

    fn take(&mut self, len: usize) -> Bytes {
        self.free.split_to(len).freeze()
    }
}

impl Default for ReadBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// The receiving half of a connection.
#[derive(Debug)]
pub struct Inbox {
    decoder: Decoder,
}

impl Inbox {
    /// An inbox that lets bodies up to `max_body` bytes through.
    #[must_use]
    pub fn new(max_body: u32) -> Self {
        Self { decoder: Decoder::new(max_body) }
    }

    /// Reads once. Call [`Inbox::next`] until it returns `None` before reading again.
    ///
    /// # Errors
    /// What recvmsg(2) says; `InvalidData` if descriptors came, which no frame may carry yet.
    pub fn read(&mut self, socket: BorrowedFd<'_>, buffer: &mut ReadBuffer) -> io::Result<Received> {
        if let Some((partial, missing)) = self.decoder.direct() {
            return read_direct(socket, partial, missing);
        }
        let read = receive(socket, buffer.room())?;
        if let Received::Bytes(len) = read {
            self.decoder.feed(buffer.take(len));
        }
        Ok(read)
    }

    /// The next frame of what was read.
    ///
    /// # Errors
    /// A [`Violation`] after which the connection must be closed.
    #[expect(clippy::should_implement_trait, reason = "it is resumable and fallible, no iterator adapter fits it")]
    pub fn next(&mut self) -> Result<Option<Incoming>, Violation> {
        self.decoder.next()
    }

    /// The decoder, for its owner's questions about partial frames.
    pub fn decoder(&mut self) -> &mut Decoder {
        &mut self.decoder
    }
}

/// Reads the rest of a long frame straight into its place. No descriptor belongs to the middle of a frame: without a control
/// buffer, the kernel closes any that is sent there.
fn read_direct(socket: BorrowedFd<'_>, partial: &mut Vec<u8>, missing: usize) -> io::Result<Received> {
    partial.reserve_exact(missing);
    loop {
        match recv(socket, rustix::buffer::spare_capacity(partial), RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Ok(Received::End),
            Ok((len, _)) => return Ok(Received::Bytes(len)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Received::Nothing),
            Err(error) => return Err(error.into()),
        }
    }
}

fn receive(socket: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<Received> {
    let mut control_room = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut control_room);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    loop {
        match recvmsg(socket, &mut [io::IoSliceMut::new(room)], &mut control, flags) {
            Ok(message) => {
                // Taking the messages out closes the descriptors in them: nothing leaks, whatever was sent.
                // Control data cut short says the same: more descriptors came than there was room, or a free number, for (unix(7)).
                let brought = control.drain().any(|message| matches!(message, RecvAncillaryMessage::ScmRights(_)))
                    || message.flags.contains(ReturnFlags::CTRUNC);
                return match message.bytes {
                    _ if brought => Err(io::Error::new(io::ErrorKind::InvalidData, Violation::UnexpectedFds)),
                    0 => Ok(Received::End),
                    len => Ok(Received::Bytes(len)),
                };
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Received::Nothing),
            Err(error) => return Err(error.into()),
        }
    }
}
