//! From a stream of bytes to frames: bounded, resumable, and without a copy where a frame lies whole in what was read.

use bytes::{Buf, Bytes};

use crate::body::Body;
use crate::wire::{
    header::{Flags, Header, Kind, MAGIC, VERSION},
    limits::{HEADER_LEN, MAX_CALL_ROUTING, MAX_FDS, MAX_ROUTING},
    routing::RoutingError,
};

/// What a peer did that the protocol doesn't allow. A goodbye tells it so, and its connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The first byte is neither the magic nor that of another dialect.
    #[error("this is not the ipcd protocol: a frame starts with 0xc1, found {0:#04x}")]
    BadMagic(u8),
    /// A frame of a version that wasn't agreed on.
    #[error("version {found} is not supported here, only version {spoken}")]
    Version {
        /// The frame's version.
        found: u8,
        /// What this side speaks.
        spoken: u8,
    },
    /// No version is spoken by both sides.
    #[error("no common protocol version: this side speaks {ours}, the other side {lowest} to {highest}")]
    NoCommonVersion {
        /// What this side speaks.
        ours: u8,
        /// Lowest version of the other side.
        lowest: u8,
        /// Highest version of the other side.
        highest: u8,
    },
    /// The routing section is longer than allowed.
    #[error("a routing section has at most {MAX_ROUTING} bytes, the header says {0}")]
    RoutingTooLong(u16),
    /// The routing section of a call leaves no room for the broker's stamp.
    #[error("the routing section of a call has at most {MAX_CALL_ROUTING} bytes when its caller sends it, found {0}")]
    CallSectionTooLong(u16),
    /// More descriptors than may travel with a frame.
    #[error("a frame carries at most {MAX_FDS} descriptors, the header says {0}")]
    TooManyFds(u8),
    /// Descriptors where none are accepted.
    #[error("descriptors are not taken here")]
    UnexpectedFds,
    /// Must-understand flags that this version doesn't know.
    #[error("unknown flags {0:?}, which must be understood")]
    FlagsNotUnderstood(Flags),
    /// A kind that this version doesn't know.
    #[error("frames of kind {0} are not known here")]
    UnknownKind(Kind),
    /// A kind that this peer must not send, or not now.
    #[error("a frame of kind {0} is not expected here")]
    UnexpectedKind(Kind),
    /// The routing section isn't well formed.
    #[error("{0}")]
    Routing(#[from] RoutingError),
    /// The first frame was not hello.
    #[error("the first frame must be hello, found {0}")]
    NoHello(Kind),
    /// Ids of calls must grow.
    #[error("call ids must grow: {found} came after {last}")]
    IdNotGrowing {
        /// The id of the frame.
        found: u64,
        /// The highest id so far.
        last: u64,
    },
    /// Something, and the milliseconds within which it did not arrive.
    #[error("{0} did not come within {time}", time = in_words(*.1))]
    TooSlow(&'static str, u64),
    /// The peer doesn't read what it is sent.
    #[error("{0} bytes wait to be read, the limit is {1}")]
    NotReading(usize, usize),
    /// The quota that the peer's unread bytes count towards is full, and most of them are its own.
    #[error("{0} bytes wait to be read, while the quota of {1} bytes is full")]
    FillingQuota(usize, u64),
    /// A subscription of which nothing may be dropped has more events than fit.
    #[error("the peer doesn't keep up with a subscription whose policy is 'cut'")]
    NotKeepingUp,
    /// What can't be read, from a peer that reads nothing and so can't be told.
    #[error("what it sends can't be read, and it doesn't read what it is told")]
    Untellable,
    /// Too many replies to calls that were never delivered.
    #[error("{0} replies to calls that were not delivered to this peer")]
    StrayReplies(u32),
}

/// One frame as it lay on the wire. The slices share the memory that it was read into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its 32 bytes, decoded.
    pub header: Header,
    /// The routing section, still unchecked.
    pub routing: Bytes,
    /// The body; it knows whether it lies in a shared read buffer.
    pub body: Body,
}

/// A frame that lies whole in what was read, and whose header is in order. It stays there unless something is taken out of it.
#[derive(Debug)]
pub struct Whole<'a> {
    header: Header,
    chunk: &'a mut Bytes,
}

/// What the decoder found next.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A whole frame.
    Frame(Frame),
    /// The header of a frame whose body is over the limit. Its bytes are skipped as they arrive; the connection lives on.
    TooLarge(Header),
    /// The header of a frame that has begun and is too long for the connection's own allowance, or for what was granted to it so far.
    /// The decoder stands still until [`Decoder::assemble`], [`Decoder::grant`] or [`Decoder::skip`] is called: the owner charges the
    /// bytes first.
    Begun(Header),
}

/// Turns what was read into frames. It keeps a partial frame, and nothing else, between two reads.
///
/// ```text
/// read -> feed(chunk) -> next() -> Frame (a slice of the chunk) ... -> None: the rest was copied to `partial`
/// ```
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Decoder {
    chunk: Bytes,
    partial: Vec<u8>,
    /// Header of the frame in `partial`, once there is one.
    header: Option<Header>,
    /// Bytes that were granted to the frame in `partial`.
    granted: usize,
    /// Bytes of an oversized body still to be skipped.
    skip: u64,
    max_body: u32,
}

impl Decoder {
    /// Bytes of a partial frame that a connection may keep without asking: a frame up to this size needs no assembly.
    pub const ALLOWANCE: usize = HEADER_LEN + MAX_ROUTING as usize;

    /// A decoder that lets bodies up to `max_body` bytes through.
    #[must_use]
    pub fn new(max_body: u32) -> Self {
        Self { chunk: Bytes::new(), partial: Vec::new(), header: None, granted: 0, skip: 0, max_body }
    }

    /// Takes what was read. All frames must have been taken with [`Decoder::next`] before more is fed.
    #[inline]
    pub fn feed(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "feed after next() returned None");
        self.chunk = chunk;
    }

    /// The next frame, if it lies whole in the chunk and its header is in order: the way of most frames. What else there may be,
    /// [`Decoder::next`] tells.
    #[inline]
    pub fn whole(&mut self) -> Option<Whole<'_>> {
        if self.mid_frame() {
            return None;
        }
        let header = Header::from_bytes(self.chunk.first_chunk()?)?;
        let is_whole = self.chunk.len() >= header.frame_len() && header.body_len <= self.max_body;
        (is_whole && header.check().is_ok()).then_some(Whole { header, chunk: &mut self.chunk })
    }

    /// The next frame, or `None` when more bytes are needed. By then nothing is left of the chunk.
    ///
    /// # Errors
    /// A [`Violation`] after which the stream makes no sense any more: the connection must be closed.
    #[expect(clippy::should_implement_trait, reason = "it is resumable and fallible, no iterator adapter fits it")]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Incoming>, Violation> {
        if self.skip > 0 {
            self.skip_oversized();
        }
        if self.chunk.is_empty() && self.header.is_none() {
            return Ok(None);
        }
        if !self.partial.is_empty() || self.header.is_some() {
            return self.next_of_partial();
        }
        let Some((head, _)) = self.chunk.split_first_chunk::<HEADER_LEN>() else {
            check_magic(&self.chunk)?;
            self.keep_rest();
            return Ok(None);
        };
        let header = self.check(head)?;
        if header.body_len > self.max_body {
            self.chunk.advance(HEADER_LEN);
            return Ok(Some(self.start_skip(header)));
        }
        if self.chunk.len() >= header.frame_len() {
            let raw = self.chunk.split_to(header.frame_len());
            return Ok(Some(Incoming::Frame(split(header, raw, Body::pinned))));
        }
        self.header = Some(header);
        self.next_of_partial()
    }

    /// Grants all the memory that [`Incoming::Begun`] asked for.
    pub fn assemble(&mut self) {
        self.grant(usize::MAX);
    }

    /// Grants the frame that has begun `bytes` in all. If it is longer, [`Incoming::Begun`] asks again when they have come.
    pub fn grant(&mut self, bytes: usize) {
        self.granted = bytes;
    }

    /// Leaves out the frame that [`Incoming::Begun`] announced: its bytes are skipped as they arrive, and the next frame follows.
    pub fn skip(&mut self) {
        if let Some(header) = self.header.take() {
            self.skip = header.frame_len().saturating_sub(self.partial.len()) as u64;
            self.partial = Vec::new();
            self.granted = 0;
        }
    }

    /// Skips what has arrived of a frame that is left out. Whether all of it has.
    pub fn has_skipped(&mut self) -> bool {
        self.skip_oversized();
        self.skip == 0
    }

    /// Bytes that the decoder keeps between two reads.
    #[must_use]
    pub fn held(&self) -> usize {
        self.partial.len() + self.chunk.len()
    }

    /// Moves what is left of the chunk into memory of the decoder's own: for a decoder that stands still while the buffer that it
    /// was fed from is wanted for other connections.
    pub fn detach(&mut self) {
        self.chunk = Bytes::copy_from_slice(&self.chunk);
    }

    /// Where the rest of what was granted to a frame can be read straight into, instead of through [`Decoder::feed`], and how many bytes
    /// are missing. What is read past the frame belongs to the next one. Call [`Decoder::next`] afterwards.
    pub fn direct(&mut self) -> Option<(&mut Vec<u8>, usize)> {
        let header = self.header.filter(|_| self.chunk.is_empty())?;
        let missing = header.frame_len().min(self.granted).saturating_sub(self.partial.len());
        (missing > 0).then_some((&mut self.partial, missing))
    }

    /// Whether everything that was fed has been taken.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.chunk.is_empty() && !self.mid_frame()
    }

    /// Whether a frame has begun and is not complete: its sender is on the clock.
    #[must_use]
    #[inline]
    pub fn mid_frame(&self) -> bool {
        self.header.is_some() || !self.partial.is_empty() || self.skip > 0
    }

    /// Bytes granted to the frame that is being put together, 0 if none are.
    #[must_use]
    pub fn granted(&self) -> usize {
        self.header.map_or(0, |header| header.frame_len().min(self.granted))
    }

    /// Whether the decoder stands still until the frame is granted memory, or more of it.
    #[must_use]
    pub fn wants_assembly(&self) -> bool {
        let is_long = |len: usize| len > Self::ALLOWANCE && len > self.granted;
        self.partial.len() >= self.granted && self.header.is_some_and(|header| is_long(header.frame_len()))
    }

    fn next_of_partial(&mut self) -> Result<Option<Incoming>, Violation> {
        if self.header.is_none() && !self.complete_header()? {
            return Ok(None);
        }
        let Some(header) = self.header else { return Ok(None) };
        if header.body_len > self.max_body {
            self.header = None;
            self.partial = Vec::new();
            return Ok(Some(self.start_skip(header)));
        }
        let len = header.frame_len();
        if self.wants_assembly() {
            return Ok(Some(Incoming::Begun(header)));
        }
        let allowed = if len > Self::ALLOWANCE { len.min(self.granted) } else { len };
        self.partial.reserve_exact(allowed.saturating_sub(self.partial.len()));
        self.fill(allowed);
        if self.partial.len() < len {
            return Ok(self.wants_assembly().then_some(Incoming::Begun(header)));
        }
        self.header = None;
        self.granted = 0;
        let mut raw = std::mem::take(&mut self.partial);
        if raw.len() > len {
            self.chunk = Bytes::from(raw.split_off(len)); // empty until now: only a direct read brings more than is missing
        }
        Ok(Some(Incoming::Frame(split(header, Bytes::from(raw), Body::from))))
    }

    /// Fills `partial` up to a header; false if the chunk ran out first.
    fn complete_header(&mut self) -> Result<bool, Violation> {
        self.fill(HEADER_LEN);
        match self.partial.first_chunk::<HEADER_LEN>().copied() {
            None => Ok(false),
            Some(head) => {
                self.header = Some(self.check(&head)?);
                Ok(true)
            }
        }
    }

    /// Moves bytes from the chunk until `partial` has `len` of them.
    fn fill(&mut self, len: usize) {
        let take = len.saturating_sub(self.partial.len()).min(self.chunk.len());
        self.partial.extend_from_slice(&self.chunk.split_to(take));
    }

    fn keep_rest(&mut self) {
        self.partial.extend_from_slice(&self.chunk);
        self.chunk = Bytes::new();
    }

    fn start_skip(&mut self, header: Header) -> Incoming {
        self.skip = u64::from(header.body_len) + u64::from(header.routing_len);
        self.skip_oversized();
        Incoming::TooLarge(header)
    }

    fn skip_oversized(&mut self) {
        let take = usize::try_from(self.skip).unwrap_or(usize::MAX).min(self.chunk.len());
        self.chunk.advance(take);
        self.skip -= take as u64;
    }

    fn check(&self, head: &[u8; HEADER_LEN]) -> Result<Header, Violation> {
        let header = Header::from_bytes(head).ok_or(Violation::BadMagic(head[0]))?;
        header.check()?;
        Ok(header)
    }
}

impl Whole<'_> {
    /// Its 32 bytes, decoded.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The routing section, still unchecked.
    #[must_use]
    #[inline]
    pub fn section(&self) -> &[u8] {
        self.chunk.get(HEADER_LEN..self.head_len()).unwrap_or_default()
    }

    /// Takes the frame out of what was read, and keeps its body.
    #[must_use]
    #[inline]
    pub fn into_body(self) -> Body {
        self.chunk.advance(self.head_len());
        Body::pinned(self.chunk.split_to(self.header.body_len as usize))
    }

    #[inline]
    fn head_len(&self) -> usize {
        HEADER_LEN + usize::from(self.header.routing_len)
    }
}

impl Frame {
    /// Reads a datagram, which holds exactly one frame.
    ///
    /// # Errors
    /// A [`Violation`], or `None` in its place when the datagram is cut short or has bytes after its frame.
    pub fn from_datagram(datagram: Bytes, max_body: u32) -> Result<Self, Option<Violation>> {
        let Some((head, _)) = datagram.split_first_chunk::<HEADER_LEN>() else { return Err(None) };
        let header = Header::from_bytes(head).ok_or(Violation::BadMagic(head[0]))?;
        header.check()?;
        if header.body_len > max_body || header.frame_len() != datagram.len() {
            return Err(None);
        }
        Ok(split(header, datagram, Body::from))
    }
}

impl Header {
    /// Refuses what a frame of this version must not say.
    #[inline]
    fn check(&self) -> Result<(), Violation> {
        if self.version != VERSION {
            return Err(Violation::Version { found: self.version, spoken: VERSION });
        }
        if self.routing_len > MAX_ROUTING {
            return Err(Violation::RoutingTooLong(self.routing_len));
        }
        if usize::from(self.fds) > MAX_FDS {
            return Err(Violation::TooManyFds(self.fds));
        }
        if self.fds > 0 {
            return Err(Violation::UnexpectedFds); // no feature bit grants them yet
        }
        match self.flags.not_understood() {
            Flags::NONE => Ok(()),
            unknown => Err(Violation::FlagsNotUnderstood(unknown)),
        }
    }
}

fn split(header: Header, mut raw: Bytes, body: impl FnOnce(Bytes) -> Body) -> Frame {
    raw.advance(HEADER_LEN);
    let routing = match header.routing_len {
        0 => Bytes::new(),
        len => raw.split_to(usize::from(len)),
    };
    Frame { header, routing, body: body(raw) }
}

fn check_magic(start: &[u8]) -> Result<(), Violation> {
    match start.first() {
        Some(&byte) if byte != MAGIC => Err(Violation::BadMagic(byte)),
        _ => Ok(()),
    }
}

/// A time in seconds, or in milliseconds if it isn't whole seconds.
fn in_words(ms: u64) -> String {
    if ms.is_multiple_of(1000) { format!("{} s", ms / 1000) } else { format!("{ms} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_past_a_granted_frame_start_the_next_one() {
        let long = [&Header { body_len: 5_000, ..Header::new(Kind::REPLY, 1) }.to_bytes()[..], &[7; 5_000]].concat();
        let short = Header::new(Kind::PING, 2).to_bytes();
        let mut decoder = Decoder::new(5_000);
        decoder.feed(Bytes::copy_from_slice(&long[..100]));
        assert_eq!(
            decoder.next(),
            Ok(Some(Incoming::Begun(Header { body_len: 5_000, ..Header::new(Kind::REPLY, 1) })))
        );
        decoder.assemble();
        assert_eq!(decoder.next(), Ok(None));

        // Vec may have more room than was asked for, and a read fills all of it.
        let (place, missing) = decoder.direct().unwrap();
        assert_eq!(missing, long.len() - 100);
        place.extend_from_slice(&long[100..]);
        place.extend_from_slice(&short);

        let Ok(Some(Incoming::Frame(first))) = decoder.next() else { panic!("no frame") };
        assert_eq!((first.header.id, first.body.len()), (1, 5_000));
        let Ok(Some(Incoming::Frame(second))) = decoder.next() else { panic!("no frame") };
        assert_eq!((second.header.id, second.body.len()), (2, 0));
        assert_eq!(decoder.next(), Ok(None));
        assert!(!decoder.mid_frame());
    }
}
