//! How a broker's frames are written and found. Everything above this module is the same for every broker.

use std::{io, ops::Range, os::fd::BorrowedFd};

mod floor;
mod ipcd;
mod nats;
mod redis;

pub(crate) use floor::{FLOOR_HEADER, Floor, FloorHeader};
pub(crate) use ipcd::Ipcd;
pub(crate) use nats::Nats;
pub(crate) use redis::Redis;

/// Which side of a call a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Answers calls.
    Service,
    /// The so many-th connection that makes calls.
    Client(u32),
}

/// What stands at the front of received bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step<T> {
    /// The beginning of something, or nothing.
    Incomplete,
    /// So many bytes that are no call and no reply.
    Skip(usize),
    /// A call (at a service) or a reply (at a client).
    Found(Found<T>),
}

/// A call or a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found<T> {
    /// Bytes of the whole frame.
    pub(crate) len: usize,
    /// Where in the frame its body stands.
    pub(crate) body: Range<usize>,
    /// What a reply needs to find its caller.
    pub(crate) token: T,
}

/// A broker's protocol, as thin as it can be spoken.
pub(crate) trait Dialect {
    /// What a reply needs to find its caller.
    type Token: Copy;

    /// Shakes hands on a new connection: afterwards calls flow.
    ///
    /// # Errors
    /// What the socket says; `InvalidData` if the broker says no.
    fn introduce(&mut self, socket: BorrowedFd<'_>, part: Part) -> io::Result<()>;

    /// Appends a call; its number is set by [`Dialect::renumber`] before each use.
    fn put_call(&self, out: &mut Vec<u8>, body: &[u8]);

    /// Sets the number of a call that was built by [`Dialect::put_call`].
    fn renumber(&self, frame: &mut [u8], serial: u64);

    /// Appends a reply.
    fn put_reply(&self, out: &mut Vec<u8>, token: Self::Token, body: &[u8]);

    /// Looks at the front of received bytes.
    fn step(&self, bytes: &[u8]) -> Step<Self::Token>;
}

/// Reads decimal digits up to a delimiter: `(value, bytes taken with the delimiter)`.
fn decimal(bytes: &[u8], delimiter: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.windows(delimiter.len()).position(|window| window == delimiter)?;
    let digits = bytes.get(..end)?;
    let value = digits
        .iter()
        .try_fold(0_usize, |value, digit| digit.is_ascii_digit().then(|| value * 10 + usize::from(digit - b'0')))?;
    Some((value, end + delimiter.len()))
}

/// A refusal in the course of a handshake, with what the broker said.
fn refused(bytes: &[u8]) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the broker said {}", bytes.escape_ascii()))
}
