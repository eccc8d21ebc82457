//! Encoded frames in the order in which they leave: short ones lie behind one another, long bodies are kept by reference.
//!
//! ```text
//! copied   | frame frame head | frame head |          one vector, written from `at`
//! shared                      ^ body       ^ body     each leaves when `copied` was written up to its place
//! ```

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use ipc_protocol::{Header, Message, limits::HEADER_LEN};

/// Frames that wait to be sent.
#[derive(Default)]
pub(crate) struct Frames {
    copied: Vec<u8>,
    at: usize,
    shared: VecDeque<Shared>,
    /// Bytes that wait to be written.
    queued: usize,
    /// Bytes ever pushed and ever written: whether a frame has left is a comparison.
    pushed: u64,
    written: u64,
}

/// A long body, and where in `copied` it belongs.
struct Shared {
    place: usize,
    body: Bytes,
}

/// The body of a frame.
#[derive(Clone, Debug)]
pub(crate) enum Payload<'a> {
    /// Bytes that are copied.
    Borrowed(&'a [u8]),
    /// Bytes that are kept by reference when copying them would cost more.
    Shared(Bytes),
}

impl Payload<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Borrowed(body) => body.len(),
            Self::Shared(body) => body.len(),
        }
    }
}

impl Frames {
    /// Queues a frame whose header has its lengths.
    pub(super) fn push(&mut self, header: &Header, routing: &[u8], body: Payload<'_>) {
        self.drop_written();
        self.copied.reserve(HEADER_LEN + routing.len() + body.len().min(COPIED)); // once, not for each part
        self.copied.extend_from_slice(&header.to_bytes());
        self.copied.extend_from_slice(routing);
        self.push_body(body);
        let len = header.frame_len();
        self.queued += len;
        self.pushed += len as u64;
    }

    /// Queues a message.
    pub(crate) fn push_message(&mut self, message: Message) {
        self.drop_written();
        let len = message.frame_len();
        message.encode_head(&mut self.copied);
        if let Some(body) = message.body() {
            self.push_body(Payload::Shared(body.bytes().clone()));
        }
        self.queued += len;
        self.pushed += len as u64;
    }

    /// Queues a frame without a routing section whose body is encoded in its place.
    ///
    /// # Errors
    /// What `encode` says; nothing is queued then.
    pub(crate) fn push_encoded<E>(
        &mut self,
        mut header: Header,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.copied.len();
        self.copied.extend_from_slice(&[0; HEADER_LEN]);
        if let Err(error) = encode(&mut self.copied) {
            self.copied.truncate(start);
            return Err(error);
        }
        let body_len = self.copied.len() - start - HEADER_LEN;
        header.body_len = u32::try_from(body_len).expect("the codec writes no body over MAX_BODY");
        if let Some(place) = self.copied.get_mut(start..start + HEADER_LEN) {
            place.copy_from_slice(&header.to_bytes());
        }
        self.queued += header.frame_len();
        self.pushed += header.frame_len() as u64;
        Ok(())
    }

    /// Drops what an encoding left behind that panicked.
    pub(crate) fn repair(&mut self) {
        let shared: usize = self.shared.iter().map(|shared| shared.body.len()).sum();
        self.copied.truncate(self.at + self.queued - shared);
    }

    /// Takes over what is queued in `other`, which is empty then.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.pushed += other.queued as u64;
        if self.queued == 0 {
            std::mem::swap(&mut self.copied, &mut other.copied);
            std::mem::swap(&mut self.shared, &mut other.shared);
            self.at = other.at;
        } else {
            self.drop_written();
            let moved = self.copied.len();
            self.shared.extend(other.shared.drain(..).map(|shared| Shared { place: shared.place + moved, ..shared }));
            self.copied.extend_from_slice(&other.copied);
        }
        self.queued += other.queued;
        other.discard();
    }

    /// Bytes that wait to be sent.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// The next bytes to write, `None` if there are none.
    pub(crate) fn next(&self) -> Option<&[u8]> {
        let bytes = match self.shared.front() {
            Some(shared) if shared.place == self.at => &shared.body[..],
            Some(shared) => self.copied.get(self.at..shared.place)?,
            None => self.copied.get(self.at..)?,
        };
        (!bytes.is_empty()).then_some(bytes)
    }

    /// What lies behind [`next`](Self::next): the body of a header, so that both leave with one write. Empty if it is no long body.
    pub(super) fn behind(&self) -> &[u8] {
        self.shared.front().filter(|shared| shared.place > self.at).map_or(&[], |shared| &shared.body)
    }

    /// The first `len` of the next bytes, and of those behind, were written.
    pub(super) fn written(&mut self, len: usize) {
        self.written += len as u64;
        self.queued -= len;
        let before_body = self.shared.front().map_or(len, |shared| (shared.place - self.at).min(len));
        self.at += before_body;
        if let Some(shared) = self.shared.front_mut().filter(|shared| shared.place == self.at) {
            shared.body.advance(len - before_body);
            if shared.body.is_empty() {
                self.shared.pop_front();
            }
        }
        if self.queued == 0 {
            self.clear();
        }
    }

    /// Forgets everything that waits.
    pub(super) fn discard(&mut self) {
        self.shared.clear();
        self.queued = 0;
        self.clear();
    }

    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }

    pub(super) fn has_left(&self, end: u64) -> bool {
        self.written >= end
    }

    fn clear(&mut self) {
        self.at = 0;
        if self.copied.capacity() > KEPT {
            self.copied = Vec::new();
        } else {
            self.copied.clear();
        }
    }

    fn push_body(&mut self, body: Payload<'_>) {
        match body {
            Payload::Shared(body) if body.len() > COPIED => {
                self.shared.push_back(Shared { place: self.copied.len(), body });
            }
            Payload::Shared(body) => self.copied.extend_from_slice(&body),
            Payload::Borrowed(body) => self.copied.extend_from_slice(body),
        }
    }

    /// Keeps the vector from growing for ever under a broker that never lets it run empty.
    fn drop_written(&mut self) {
        if self.at > KEPT {
            self.copied.drain(..self.at);
            self.shared.iter_mut().for_each(|shared| shared.place -= self.at);
            self.at = 0;
        }
    }
}

/// Bodies up to this length are copied: one more write for a body of its own costs more than moving a few KiB.
const COPIED: usize = 16 * 1024;
/// Largest vector kept while nothing waits, in bytes.
const KEPT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use ipc_protocol::{Encoding, Kind, Reply};

    use super::*;

    fn reply(id: u64, len: usize) -> Message {
        let body = vec![u8::try_from(id).unwrap(); len].into();
        Message::Reply(Reply { id, encoding: Encoding::BYTES, body })
    }

    #[test]
    fn everything_leaves_in_order_whatever_the_size_of_a_write() {
        let messages = [reply(1, 10), reply(2, COPIED + 1), reply(3, 0), reply(4, 3 * COPIED), reply(5, COPIED)];
        let wanted: Vec<u8> = messages.iter().flat_map(Message::to_vec).collect();
        for most in [1, 31, 4_096, 1 << 20] {
            let (mut frames, mut sent) = (Frames::default(), Vec::new());
            messages.iter().for_each(|message| frames.push_message(message.clone()));
            assert_eq!(frames.queued(), wanted.len());
            while let Some(bytes) = frames.next() {
                let len = bytes.len().min(most);
                sent.extend_from_slice(&bytes[..len]);
                frames.written(len);
            }
            assert!(sent == wanted && frames.queued() == 0, "in writes of {most} bytes");
        }
    }

    #[test]
    fn a_long_body_leaves_with_its_header_wherever_a_write_ends() {
        let messages = [reply(1, 10), reply(2, COPIED + 1), reply(3, COPIED + 2), reply(4, 7)];
        let wanted: Vec<u8> = messages.iter().flat_map(Message::to_vec).collect();
        for most in [1, 33, COPIED, COPIED + 75, 1 << 20] {
            let (mut frames, mut sent) = (Frames::default(), Vec::new());
            messages.iter().for_each(|message| frames.push_message(message.clone()));
            while let Some(bytes) = frames.next() {
                let both = [bytes, frames.behind()].concat();
                let len = both.len().min(most);
                sent.extend_from_slice(&both[..len]);
                frames.written(len);
            }
            assert!(sent == wanted && frames.queued() == 0, "in writes of {most} bytes");
        }
    }

    #[test]
    fn a_queue_that_never_runs_empty_does_not_grow() {
        let mut frames = Frames::default();
        frames.push_message(reply(0, 1_000));
        for _ in 0..10_000 {
            frames.push_message(reply(1, 1_000));
            frames.written(1_000);
        }
        assert!(frames.copied.capacity() < 1 << 20, "{} bytes", frames.copied.capacity());
    }

    #[test]
    fn a_body_encoded_in_place_is_a_frame_like_any_other() {
        let (mut frames, header) = (Frames::default(), Header::new(Kind::REPLY, 7));
        assert!(
            frames
                .push_encoded(header, |out| {
                    out.push(1);
                    Err(())
                })
                .is_err()
        );
        assert_eq!(frames.queued(), 0);
        frames
            .push_encoded(header, |out| {
                out.extend_from_slice(b"seven");
                Ok::<_, ()>(())
            })
            .unwrap();
        let whole = Message::Reply(Reply { id: 7, encoding: Encoding::BYTES, body: "seven".into() });
        assert_eq!(frames.next().unwrap(), whole.to_vec());
    }

    #[test]
    fn what_a_panic_left_is_dropped() {
        let mut frames = Frames::default();
        frames.push_message(reply(1, COPIED + 1));
        let whole = frames.queued();
        frames.copied.extend_from_slice(b"half a frame");
        frames.repair();
        frames.push_message(reply(2, 1));
        let mut sent = 0;
        while let Some(len) = frames.next().map(<[u8]>::len) {
            frames.written(len);
            sent += len;
        }
        assert_eq!(sent, whole + reply(2, 1).to_vec().len());
    }

    #[test]
    fn appended_frames_leave_behind_those_that_wait() {
        let (mut frames, mut more) = (Frames::default(), Frames::default());
        let messages = [reply(1, 3), reply(2, COPIED + 1), reply(3, 5), reply(4, COPIED + 2)];
        for message in &messages {
            more.push_message(message.clone());
            if frames.queued() > 0 {
                frames.written(1); // in the middle of a frame
            }
            frames.append(&mut more);
        }
        let mut sent = Vec::new();
        while let Some(bytes) = frames.next() {
            let len = bytes.len();
            sent.extend_from_slice(bytes);
            frames.written(len);
        }
        let wanted: Vec<u8> = messages.iter().flat_map(Message::to_vec).collect();
        assert!(sent == wanted[3..]);
        assert!(frames.has_left(frames.pushed()) && more.queued() == 0);
    }
}
