//! Writing: frames queue up by reference, and each turn sends them with one gathering write.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    os::fd::BorrowedFd,
};

use bytes::{Buf, Bytes};
use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendFlags, send, sendmsg},
};

use crate::{Body, Call, Message, transport::inbox::ReadBuffer};

/// What a flush did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// Bytes that the kernel took.
    pub written: usize,
    /// Whether the socket is full: wait until it is writable.
    pub blocked: bool,
}

/// The sending half of a connection. Headers and routing sections are copied one after another; bodies stay where they are,
/// unless they are so small that pointing at them costs more than copying them:
///
/// ```text
/// heads:    [header routing][header routing small body][header routing]
/// segments:  Head(68) Body(-> read buffer)  Head(180)  Body(-> assembled frame)
/// ```
#[derive(Debug, Default)]
pub struct Outbox {
    /// Absent while nothing is queued, so that an idle connection owns no buffer.
    buffers: Option<Box<Buffers>>,
    len: usize,
}

/// Buffers of outboxes that ran empty, for the next ones that fill.
#[derive(Debug, Default)]
pub struct Pool {
    #[expect(clippy::vec_box, reason = "the boxes move between pool and outboxes; an idle outbox is one pointer")]
    spare: Vec<Box<Buffers>>,
}

#[derive(Debug, Default)]
struct Buffers {
    heads: Vec<u8>,
    heads_written: usize,
    segments: VecDeque<Segment>,
    /// Segments from the front that own their memory.
    detached: usize,
}

#[derive(Debug)]
enum Segment {
    /// This many of the next bytes of `heads`.
    Head(usize),
    Body(Bytes),
}

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Queues a message, and returns how many bytes it takes.
    pub fn push(&mut self, message: Message, pool: &mut Pool) -> usize {
        let none = Body::default();
        let body = message.body().unwrap_or(&none);
        let buffers = self.buffers.get_or_insert_with(|| pool.take());
        let len = buffers.push(|heads| message.encode_head(heads), body);
        self.len += len;
        len
    }

    /// Queues a call that its sender keeps, because it may have to go to another connection, and returns how many bytes it takes. A
    /// small body is copied, which touches no count of references.
    pub fn push_call(&mut self, call: &Call, pool: &mut Pool) -> usize {
        let buffers = self.buffers.get_or_insert_with(|| pool.take());
        let len = buffers.push(|heads| call.encode_head(heads), &call.body);
        self.len += len;
        len
    }

    /// Writes until everything is written or the socket takes no more.
    ///
    /// # Errors
    /// What sendmsg(2) says, apart from EAGAIN and EINTR. SIGPIPE is never raised.
    pub fn flush(&mut self, socket: BorrowedFd<'_>, pool: &mut Pool) -> io::Result<Flushed> {
        let mut written = 0;
        while let Some(buffers) = &mut self.buffers {
            match buffers.write(socket) {
                Ok(0) => return Ok(Flushed { written, blocked: true }),
                Ok(len) => {
                    buffers.consume(len);
                    self.len -= len;
                    written += len;
                    if buffers.segments.is_empty() {
                        pool.put(self.buffers.take());
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Flushed { written, blocked: true }),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Flushed { written, blocked: false })
    }

    /// Copies bodies that lie in the shared read buffer into memory of their own: what a turn couldn't write must not pin the buffer
    /// that all connections share. A body longer than one read was assembled in its own memory, and stays there.
    pub fn detach(&mut self) {
        let Some(buffers) = &mut self.buffers else { return };
        for segment in buffers.segments.range_mut(buffers.detached..) {
            if let Segment::Body(body) = segment
                && body.len() <= ReadBuffer::READ_LEN
            {
                *body = Bytes::copy_from_slice(body);
            }
        }
        buffers.detached = buffers.segments.len();
        buffers.drop_written_heads();
    }

    /// Drops everything that is queued.
    pub fn discard(&mut self, pool: &mut Pool) {
        pool.put(self.buffers.take());
        self.len = 0;
    }

    /// Bytes queued.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Buffers {
    /// Copies everything but a long body, which is pointed at, and returns how many bytes the frame has.
    fn push(&mut self, encode_head: impl FnOnce(&mut Vec<u8>), body: &Body) -> usize {
        let before = self.heads.len();
        encode_head(&mut self.heads);
        let is_small = body.len() <= COPIED;
        if is_small {
            self.heads.extend_from_slice(body);
        }
        let head = self.heads.len() - before;
        match self.segments.back_mut() {
            Some(Segment::Head(last)) => *last += head,
            _ => self.segments.push_back(Segment::Head(head)),
        }
        if is_small {
            return head;
        }
        self.segments.push_back(Segment::Body(body.bytes().clone()));
        head + body.len()
    }

    /// One gathering write of as many segments as fit its vector.
    fn write(&self, socket: BorrowedFd<'_>) -> Result<usize, Errno> {
        // Small frames lie one after another and need no vector; a short vector saves the set-up of the long one.
        match (self.segments.len(), self.segments.front()) {
            (1, Some(Segment::Head(len))) => {
                let head = self.heads.get(self.heads_written..self.heads_written + len).unwrap_or_default();
                send(socket, head, FLAGS)
            }
            (..=4, _) => self.write_up_to::<4>(socket),
            _ => self.write_up_to::<VECTOR>(socket),
        }
    }

    fn write_up_to<const N: usize>(&self, socket: BorrowedFd<'_>) -> Result<usize, Errno> {
        let mut slices = [IoSlice::new(&[]); N];
        let mut head_at = self.heads_written;
        let mut used = 0;
        for (slice, segment) in slices.iter_mut().zip(&self.segments) {
            let bytes = match segment {
                Segment::Body(body) => &body[..],
                Segment::Head(len) => {
                    let head = self.heads.get(head_at..head_at + len).unwrap_or_default();
                    head_at += len;
                    head
                }
            };
            *slice = IoSlice::new(bytes);
            used += 1;
        }
        sendmsg(socket, slices.get(..used).unwrap_or_default(), &mut SendAncillaryBuffer::default(), FLAGS)
    }

    /// Drops `len` written bytes from the front.
    fn consume(&mut self, mut len: usize) {
        while len > 0 {
            let Some(front) = self.segments.front_mut() else { return };
            let (taken, done) = match front {
                Segment::Head(left) => {
                    let taken = len.min(*left);
                    *left -= taken;
                    self.heads_written += taken;
                    (taken, *left == 0)
                }
                Segment::Body(body) => {
                    let taken = len.min(body.len());
                    body.advance(taken);
                    (taken, body.is_empty())
                }
            };
            len -= taken;
            if done {
                self.segments.pop_front();
                self.detached = self.detached.saturating_sub(1);
            }
        }
    }

    /// Keeps `heads` from growing without end for a reader that never lets the outbox run empty.
    fn drop_written_heads(&mut self) {
        if self.heads_written > self.heads.len() / 2 {
            self.heads.drain(..self.heads_written);
            self.heads_written = 0;
        }
    }
}

impl Pool {
    fn take(&mut self) -> Box<Buffers> {
        self.spare.pop().unwrap_or_default()
    }

    fn put(&mut self, buffers: Option<Box<Buffers>>) {
        let Some(mut buffers) = buffers else { return };
        if self.spare.len() < POOL_LEN && buffers.heads.capacity() <= HEADS_KEPT {
            buffers.heads.clear();
            buffers.heads_written = 0;
            buffers.segments.clear();
            buffers.detached = 0;
            self.spare.push(buffers);
        }
    }
}

/// A broken connection is an error, not a signal; a full one is a state, not a reason to wait.
const FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);
/// Bodies of up to this many bytes are copied behind their header. A reference costs an entry of the write's vector, which the kernel
/// reads and walks, and two atomic counts: 64 calls of 64 bytes took a sixth longer by reference. From a few hundred bytes on, the
/// copy costs more.
const COPIED: usize = 256;
/// Segments of one gathering write: 64 frames with their bodies. The kernel takes 1,024 (UIO_MAXIOV); the vector lives on the stack.
const VECTOR: usize = 128;
/// Buffers kept for reuse: as many connections as one turn serves.
const POOL_LEN: usize = 512;
/// Largest head buffer kept for reuse, in bytes.
const HEADS_KEPT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::os::{fd::AsFd, unix::net::UnixStream};

    use super::*;
    use crate::{
        transport::{Inbox, Received},
        wire::{header::Encoding, message::Reply},
    };

    fn reply(id: u64, len: usize) -> Message {
        Message::Reply(Reply { id, encoding: Encoding::BYTES, body: vec![u8::try_from(id).unwrap(); len].into() })
    }

    fn receive_all(socket: &UnixStream, inbox: &mut Inbox, buffer: &mut ReadBuffer) -> Vec<Message> {
        use crate::wire::frame::Incoming;
        let mut messages = Vec::new();
        while let Received::Bytes(_) = inbox.read(socket.as_fd(), buffer).unwrap() {
            while let Some(incoming) = inbox.next().unwrap() {
                match incoming {
                    Incoming::Frame(frame) => messages.push(Message::decode(frame).unwrap()),
                    Incoming::Begun(_) => inbox.decoder().assemble(),
                    Incoming::TooLarge(header) => panic!("too large: {header:?}"),
                }
            }
        }
        messages
    }

    #[test]
    fn what_the_socket_does_not_take_leaves_later_and_in_order() {
        let (a, b) = UnixStream::pair().unwrap();
        let (mut outbox, mut pool) = (Outbox::new(), Pool::default());
        let sent: Vec<Message> =
            (0..40).map(|id| reply(id, 30_000)).chain([reply(40, 900_000), reply(41, 0)]).collect();
        let queued: usize = sent.iter().map(|message| outbox.push(message.clone(), &mut pool)).sum();
        assert_eq!(outbox.len(), queued);

        let (mut inbox, mut buffer, mut received) = (Inbox::new(1 << 20), ReadBuffer::new(), Vec::new());
        while outbox.flush(a.as_fd(), &mut pool).unwrap().blocked {
            outbox.detach();
            received.extend(receive_all(&b, &mut inbox, &mut buffer));
        }
        received.extend(receive_all(&b, &mut inbox, &mut buffer));

        assert_eq!(received, sent);
        assert!(outbox.is_empty() && outbox.buffers.is_none());
        assert!(!inbox.decoder().mid_frame());
    }

    #[test]
    fn a_call_that_is_kept_is_written_like_one_that_is_given_away() {
        let call = |len: usize| Call {
            id: 7,
            one_way: true,
            streams: crate::Streams::NONE,
            encoding: Encoding::JSON,
            timeout_ms: 9,
            caller: Bytes::new(),
            routing: crate::Routing::to("calc", "add").build(),
            body: vec![b'x'; len].into(),
        };
        let (small, long) = (call(COPIED), call(COPIED + 1));
        let (a, b) = UnixStream::pair().unwrap();
        let (mut outbox, mut pool) = (Outbox::new(), Pool::default());
        let pushed = outbox.push_call(&small, &mut pool) + outbox.push_call(&long, &mut pool);
        assert_eq!(pushed, outbox.len());
        outbox.flush(a.as_fd(), &mut pool).unwrap();

        let received = receive_all(&b, &mut Inbox::new(1 << 20), &mut ReadBuffer::new());

        assert_eq!(received, [Message::Call(small), Message::Call(long)]);
    }

    #[test]
    fn a_closed_reader_is_an_error_and_no_signal() {
        let (a, b) = UnixStream::pair().unwrap();
        drop(b);
        let (mut outbox, mut pool) = (Outbox::new(), Pool::default());
        outbox.push(Message::Ping(1), &mut pool);
        assert_eq!(outbox.flush(a.as_fd(), &mut pool).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
