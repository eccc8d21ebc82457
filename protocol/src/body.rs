//! A body: what a message carries for its receiver, opaque to everything in between.

use std::ops::Deref;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The body of a call, a reply or an error. `F` is the type of a descriptor: the broker's core runs in tests with counted fakes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Body<F = NoFd> {
    /// Bytes that travel in the frame.
    Inline {
        /// The bytes as they lie on the wire.
        bytes: Bytes,
        /// Whether they are a slice of a buffer that many connections share: such a body is [detached](Body::detach) before it is
        /// kept beyond the turn in which it was read. A body that was written down and read again owns its memory.
        #[serde(skip)]
        pinned: bool,
    },
    /// A descriptor that travels beside the frame and holds the body.
    Fd(F),
}

/// The descriptor type where no descriptor can be: it has no values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoFd {}

impl<F> Body<F> {
    /// A body that is a slice of a shared read buffer.
    #[must_use]
    pub fn pinned(bytes: Bytes) -> Self {
        Self::Inline { bytes, pinned: true }
    }

    /// The bytes in the frame; none when the body is in a descriptor.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        match self {
            Self::Inline { bytes, .. } => bytes,
            Self::Fd(_) => &NONE,
        }
    }

    /// Copies the bytes out of a shared buffer, if they lie in one.
    pub fn detach(&mut self) {
        if let Self::Inline { bytes, pinned: pinned @ true } = self {
            *bytes = Bytes::copy_from_slice(bytes);
            *pinned = false;
        }
    }
}

impl Body<NoFd> {
    /// The bytes, without the knowledge of where they lie.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Inline { bytes, .. } => bytes,
            Self::Fd(never) => match never {},
        }
    }
}

impl<F> Default for Body<F> {
    fn default() -> Self {
        Bytes::new().into()
    }
}

impl<F> Deref for Body<F> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes()
    }
}

impl<F> From<Bytes> for Body<F> {
    fn from(bytes: Bytes) -> Self {
        Self::Inline { bytes, pinned: false }
    }
}

impl<F> From<Vec<u8>> for Body<F> {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl<F> From<&'static str> for Body<F> {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl<F> From<String> for Body<F> {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

/// Where the bytes lie makes no difference.
impl<F: PartialEq> PartialEq for Body<F> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Inline { bytes, .. }, Self::Inline { bytes: others, .. }) => bytes == others,
            (Self::Fd(fd), Self::Fd(other)) => fd == other,
            (Self::Inline { .. }, Self::Fd(_)) | (Self::Fd(_), Self::Inline { .. }) => false,
        }
    }
}

impl<F: Eq> Eq for Body<F> {}

impl<F> PartialEq<[u8]> for Body<F> {
    fn eq(&self, other: &[u8]) -> bool {
        matches!(self, Self::Inline { bytes, .. } if bytes == other)
    }
}

impl<F, const N: usize> PartialEq<[u8; N]> for Body<F> {
    fn eq(&self, other: &[u8; N]) -> bool {
        *self == other[..]
    }
}

impl<F> PartialEq<&[u8]> for Body<F> {
    fn eq(&self, other: &&[u8]) -> bool {
        *self == **other
    }
}

impl<F, const N: usize> PartialEq<&[u8; N]> for Body<F> {
    fn eq(&self, other: &&[u8; N]) -> bool {
        *self == other[..]
    }
}

impl<F> PartialEq<&str> for Body<F> {
    fn eq(&self, other: &&str) -> bool {
        *self == *other.as_bytes()
    }
}

impl<F> PartialEq<String> for Body<F> {
    fn eq(&self, other: &String) -> bool {
        *self == *other.as_bytes()
    }
}

impl<F> PartialEq<Bytes> for Body<F> {
    fn eq(&self, other: &Bytes) -> bool {
        *self == other[..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detached_body_leaves_the_shared_buffer_free() {
        let mut buffer = bytes::BytesMut::from(&b"shared"[..]);
        let mut body: Body = Body::pinned(buffer.split_to(3).freeze());
        body.detach();
        assert!(buffer.try_reclaim(3), "the body still pins the buffer");
        assert_eq!(body, *b"sha");
    }

    #[test]
    fn a_body_of_its_own_is_not_copied() {
        let bytes = Bytes::from(vec![1, 2, 3]);
        let mut body: Body = bytes.clone().into();
        body.detach();
        assert_eq!(body.bytes().as_ptr(), bytes.as_ptr());
    }
}
