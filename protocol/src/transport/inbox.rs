//! Reading: one buffer for all connections, a decoder for each.

use std::{io, os::fd::BorrowedFd};

use bytes::{Bytes, BytesMut};
use rustix::{
    io::Errno,
    net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, recv, recvmsg},
};

use crate::{
    transport::rights,
    wire::frame::{Decoder, Incoming, Violation},
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
///
/// A short read is copied from where the kernel writes it to the end of the other short reads, so that the CPU keeps that place in
/// its cache and nothing has to be cleared again. A long read is handed out where it lies.
#[derive(Debug)]
pub struct ReadBuffer {
    /// Where the kernel writes: cleared memory.
    room: BytesMut,
    /// Where short reads lie.
    short: BytesMut,
    /// Bytes of the next room.
    next_len: usize,
}

impl ReadBuffer {
    /// Bytes read from one connection at a time: the byte budget of a turn.
    pub const READ_LEN: usize = 32 * 1024;
    /// Bytes of the first room: a tool that makes one call and ends shouldn't pay for touching a large one.
    const FIRST_LEN: usize = 8 * 1024;
    /// Longest read that is copied. Copying 8 KiB costs less than clearing as much, and hardly more than pointing at it.
    const SHORT: usize = 8 * 1024;
    /// Bytes that short reads are collected in.
    const COLLECTED: usize = 64 * 1024;

    /// A buffer; its memory is allocated at the first read.
    #[must_use]
    pub fn new() -> Self {
        Self { room: BytesMut::new(), short: BytesMut::new(), next_len: Self::FIRST_LEN }
    }

    /// Reads up to `most` bytes from a socket, once. The bytes are empty unless some came.
    ///
    /// # Errors
    /// What recvmsg(2) says; `InvalidData` if descriptors came, which no frame may carry yet.
    #[inline]
    pub fn receive(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<(Received, Bytes)> {
        let received = receive(socket, self.room(most), RecvFlags::empty())?;
        Ok((received, self.bytes(received)))
    }

    /// Reads up to `most` bytes from a socket whose descriptors the kernel doesn't refuse. If some came they stay there, and so do the
    /// bytes.
    ///
    /// # Errors
    /// What recvmsg(2) says; `InvalidData` if descriptors came.
    pub fn receive_warily(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<(Received, Bytes)> {
        let received = receive_warily(socket, self.room(most))?;
        Ok((received, self.bytes(received)))
    }

    /// Reads the rest of a long frame, like [`receive_into`], but through this buffer, and from a socket whose descriptors the kernel
    /// doesn't refuse.
    ///
    /// # Errors
    /// What recvmsg(2) says; `InvalidData` if descriptors came.
    pub fn receive_into_warily(
        &mut self,
        socket: BorrowedFd<'_>,
        partial: &mut Vec<u8>,
        missing: usize,
    ) -> io::Result<Received> {
        let room = self.room(missing);
        let received = receive_warily(socket, room)?;
        if let Received::Bytes(len) = received {
            partial.extend_from_slice(room.get(..len).unwrap_or_default());
        }
        Ok(received)
    }

    /// Takes what has arrived at a socket that receives no more, up to descriptors, which stay there.
    ///
    /// # Errors
    /// What recvmsg(2) says; `InvalidData` if descriptors came.
    pub fn empty(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while let Received::Bytes(_) = receive_warily(socket, self.room(Self::READ_LEN))? {}
        Ok(())
    }

    /// Up to `most` bytes of room.
    #[inline]
    fn room(&mut self, most: usize) -> &mut [u8] {
        if self.room.is_empty() {
            self.room = BytesMut::zeroed(self.next_len);
        }
        let most = most.min(self.room.len());
        self.room.get_mut(..most).unwrap_or_default()
    }

    #[inline]
    fn bytes(&mut self, received: Received) -> Bytes {
        match received {
            Received::Bytes(len) => self.take(len),
            Received::Nothing | Received::End => Bytes::new(),
        }
    }

    #[inline]
    fn take(&mut self, len: usize) -> Bytes {
        if len == self.room.len() {
            self.next_len = Self::READ_LEN; // there may be more where this came from
        }
        if len > Self::SHORT {
            let bytes = self.room.split_to(len).freeze();
            self.room = BytesMut::new();
            return bytes;
        }
        if self.short.capacity() < len {
            self.short.reserve(Self::COLLECTED.max(len)); // the same memory, as soon as no slice of it is left
        }
        self.short.extend_from_slice(self.room.get(..len).unwrap_or_default());
        let bytes = self.short.split().freeze();
        if self.next_len > self.room.len() {
            self.room = BytesMut::new();
        }
        bytes
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
            return receive_into(socket, partial, missing);
        }
        let (received, bytes) = buffer.receive(socket, usize::MAX)?;
        if !bytes.is_empty() {
            self.decoder.feed(bytes);
        }
        Ok(received)
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

/// Reads the rest of a long frame straight into its place: `missing` bytes, and what the memory holds beyond them. No descriptor
/// belongs to the middle of a frame: without a control buffer, the kernel closes any that is sent there.
///
/// # Errors
/// What recv(2) says.
pub fn receive_into(socket: BorrowedFd<'_>, partial: &mut Vec<u8>, missing: usize) -> io::Result<Received> {
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

/// Reads no further than it has looked. The kernel hands out a copy of what one looks at: without room for control data it drops
/// the copy, which is never the last one, and says that something was cut short. So nothing of what was sent is closed.
fn receive_warily(socket: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<Received> {
    match receive(socket, room, RecvFlags::PEEK)? {
        Received::Bytes(len) => receive(socket, room.get_mut(..len).unwrap_or_default(), RecvFlags::empty()),
        other => Ok(other),
    }
}

/// Reads without room for control data: the kernel closes descriptors that come, and says that something was cut short (unix(7)).
#[inline]
fn receive(socket: BorrowedFd<'_>, room: &mut [u8], how: RecvFlags) -> io::Result<Received> {
    loop {
        let mut no_control = RecvAncillaryBuffer::default();
        match recvmsg(socket, &mut [io::IoSliceMut::new(room)], &mut no_control, how | RecvFlags::DONTWAIT) {
            Ok(message) if message.flags.contains(ReturnFlags::CTRUNC) && rights::have_come(&socket) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, Violation::UnexpectedFds));
            }
            Ok(message) if message.flags.contains(ReturnFlags::CTRUNC) && how.contains(RecvFlags::PEEK) => {} // look again
            Ok(message) if message.bytes == 0 => return Ok(Received::End),
            Ok(message) => return Ok(Received::Bytes(message.bytes)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Received::Nothing),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        os::{fd::AsFd, unix::net::UnixStream},
    };

    use nix::sys::socket::{setsockopt, sockopt::PassCred};
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    use super::*;

    fn send_descriptor(socket: &UnixStream) {
        let mut room = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut room);
        let fds = [socket.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(socket, &[io::IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
    }

    #[test]
    fn bytes_that_bring_a_descriptor_are_refused() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        send_descriptor(&theirs);
        let error = ReadBuffer::new().receive(ours.as_fd(), usize::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_wary_reader_takes_what_comes_before_a_descriptor_and_leaves_the_rest() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        setsockopt(&ours, PassCred, &true).unwrap();
        let mut buffer = ReadBuffer::new();
        theirs.write_all(b"before").unwrap();
        assert_eq!(
            buffer.receive_warily(ours.as_fd(), ReadBuffer::READ_LEN).unwrap(),
            (Received::Bytes(6), Bytes::from("before"))
        );
        assert_eq!(buffer.receive_warily(ours.as_fd(), ReadBuffer::READ_LEN).unwrap().0, Received::Nothing);

        theirs.write_all(b"beside").unwrap();
        send_descriptor(&theirs);
        let refusals = [
            buffer.receive_warily(ours.as_fd(), ReadBuffer::READ_LEN).map(drop),
            buffer.receive_into_warily(ours.as_fd(), &mut Vec::new(), 9).map(drop),
            buffer.empty(ours.as_fd()),
        ];
        assert_eq!(refusals.map(|refused| refused.unwrap_err().kind()), [io::ErrorKind::InvalidData; 3]);
        assert_eq!(rustix::io::ioctl_fionread(&ours).unwrap(), 7, "nothing was taken");
    }

    #[test]
    fn a_wary_reader_of_a_long_frame_reads_no_further_than_its_end() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (mut buffer, mut partial) = (ReadBuffer::new(), b"abc".to_vec());
        theirs.write_all(b"defghi").unwrap();
        assert_eq!(buffer.receive_into_warily(ours.as_fd(), &mut partial, 4).unwrap(), Received::Bytes(4));
        assert_eq!((partial.as_slice(), rustix::io::ioctl_fionread(&ours).unwrap()), (&b"abcdefg"[..], 2));
        drop(theirs);
        buffer.empty(ours.as_fd()).unwrap();
        assert_eq!(buffer.receive_warily(ours.as_fd(), ReadBuffer::READ_LEN).unwrap().0, Received::End);
    }

    #[test]
    fn a_socket_that_was_set_to_bring_credentials_is_read_and_still_refuses_descriptors() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        setsockopt(&ours, PassCred, &true).unwrap();
        let mut buffer = ReadBuffer::new();
        for text in ["one", "two"] {
            theirs.write_all(text.as_bytes()).unwrap();
            assert_eq!(buffer.receive(ours.as_fd(), usize::MAX).unwrap(), (Received::Bytes(3), Bytes::from(text)));
        }
        send_descriptor(&theirs);
        assert!(buffer.receive(ours.as_fd(), usize::MAX).is_err());
    }
}
