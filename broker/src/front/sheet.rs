//! A sheet: the content of one gathering write.

use std::io::IoSlice;

use bytes::Bytes;

/// Encoded items, one after another. Long bodies are referenced, and the rest is in one piece of memory:
///
/// ```text
/// bytes:   [header routing body][header routing][header routing body]
/// pieces:  up to here ------------------------^ body             ^ end
/// ```
#[derive(Debug, Default)]
pub struct Sheet {
    bytes: Vec<u8>,
    /// Long bodies, and their positions in `bytes`.
    bodies: Vec<(usize, Bytes)>,
    /// Where each item ends in the whole sheet.
    ends: Vec<usize>,
    referred: usize,
}

/// The rest of the item that a write ended within.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) bytes: Vec<u8>,
    pub(super) body: Bytes,
}

impl Sheet {
    /// An empty sheet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The length of the whole sheet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() + self.referred
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The only piece, if there is a single one.
    #[must_use]
    pub fn single(&self) -> Option<&[u8]> {
        self.bodies.is_empty().then_some(&self.bytes)
    }

    /// Writes the pieces in order to `slices`, which always has room for them. Returns their number.
    pub fn pieces<'a>(&'a self, slices: &mut [IoSlice<'a>; Self::PIECES]) -> usize {
        let pieces = self.runs().flat_map(|(run, body)| [run, body.map_or(&[][..], |body| &body[..])]);
        let mut used = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces.filter(|piece| !piece.is_empty())) {
            *slice = IoSlice::new(piece);
            used += 1;
        }
        used
    }

    /// Empties it, and keeps its memory. Until then it pins the bodies that it references.
    #[inline]
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bodies.clear();
        self.ends.clear();
        self.referred = 0;
    }

    /// The memory that bytes are appended to.
    #[inline]
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Appends a reference to a long body.
    pub(super) fn refer(&mut self, body: &Bytes) {
        self.bodies.push((self.bytes.len(), body.clone()));
        self.referred += body.len();
    }

    /// Ends an item.
    #[inline]
    pub(super) fn end_item(&mut self) {
        self.ends.push(self.len());
    }

    /// Whether another item should wait for the next sheet.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.bodies.len() >= Self::BODIES || self.bytes.len() >= Self::BYTES
    }

    /// The number of items that the first `len` bytes complete.
    #[inline]
    pub(super) fn items_in(&self, len: usize) -> usize {
        if len == self.len() { self.ends.len() } else { self.ends.partition_point(|end| *end <= len) }
    }

    /// The rest of the item after the first `items` if only `len` bytes were written; `None` if nothing of it was.
    pub(super) fn left_of(&self, items: usize, len: usize) -> Option<Left> {
        let start = items.checked_sub(1).map_or(0, |last| self.ends.get(last).copied().unwrap_or(0));
        let end = self.ends.get(items).copied().filter(|_| len > start)?;
        let rest_of = |at: usize, piece: usize| (len.max(at) - at).min(piece)..(end.min(at + piece).max(at) - at);
        let (mut at, mut left) = (0, Left { bytes: Vec::new(), body: Bytes::new() });
        for (run, body) in self.runs() {
            left.bytes.extend_from_slice(run.get(rest_of(at, run.len())).unwrap_or_default());
            at += run.len();
            if let Some(body) = body {
                let rest = rest_of(at, body.len());
                if !rest.is_empty() {
                    left.body = body.slice(rest); // an item is bytes, and at most one body behind them
                }
                at += body.len();
            }
        }
        Some(left)
    }

    /// The copied bytes before each long body, and that body.
    fn runs(&self) -> impl Iterator<Item = (&[u8], Option<&Bytes>)> {
        let starts = std::iter::once(0).chain(self.bodies.iter().map(|(at, _)| *at));
        let ends = self.bodies.iter().map(|(at, body)| (*at, Some(body))).chain([(self.bytes.len(), None)]);
        starts.zip(ends).map(|(start, (end, body))| (self.bytes.get(start..end).unwrap_or_default(), body))
    }

    /// Pieces of one write: 64 frames with their bodies. The kernel takes 1,024 (UIO_MAXIOV); the vector lives on the stack.
    pub const PIECES: usize = 2 * Self::BODIES + 1;
    const BODIES: usize = 64;
    /// Bytes after which a sheet is full: several frames of ordinary length, or as many small ones as a socket takes at once.
    const BYTES: usize = 64 * 1024;
}
