//! How the frames of each broker are written and found. Everything above this module is the same for all brokers.

use std::{io, ops::Range, os::fd::BorrowedFd};

mod floor;
mod ipcd;
mod json;
mod nats;
mod redis;

pub(crate) use floor::{EVERYONE, FLOOR_HEADER, Floor, FloorHeader};
pub(crate) use ipcd::Ipcd;
pub(crate) use json::Json;
pub(crate) use nats::Nats;
pub(crate) use redis::Redis;

/// The side of a call that a connection is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Answers calls.
    Service,
    /// Makes calls, as the connection with this number.
    Client(u32),
    /// Receives events, and may publish them.
    Subscriber,
}

/// What the received bytes begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step<T> {
    /// Less than a frame.
    Incomplete,
    /// A number of bytes that are neither a call, a reply nor an event.
    Skip(usize),
    /// A call (at a service), a reply (at a client) or an event (at a subscriber).
    Found(Found<T>),
}

/// A call or a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found<T> {
    /// The length of the whole frame.
    pub(crate) len: usize,
    /// The position of the body in the frame.
    pub(crate) body: Range<usize>,
    /// What a reply needs to find its caller.
    pub(crate) token: T,
}

/// The least of a broker's protocol that a call needs.
pub(crate) trait Dialect {
    /// What a reply needs to find its caller.
    type Token: Copy;

    /// Shakes hands on a new connection, which can then carry calls.
    ///
    /// # Errors
    /// `InvalidData` if the broker refuses.
    fn introduce(&mut self, socket: BorrowedFd<'_>, part: Part) -> io::Result<()>;

    /// Appends a call. [`Dialect::renumber`] sets its number before each use.
    fn put_call(&self, out: &mut Vec<u8>, body: &[u8]);

    /// Appends an event for all subscribers.
    fn put_event(&self, out: &mut Vec<u8>, body: &[u8]) {
        self.put_call(out, body);
    }

    /// Sets the number of a call or an event.
    fn renumber(&self, frame: &mut [u8], serial: u64);

    /// Appends a reply.
    fn put_reply(&self, out: &mut Vec<u8>, token: Self::Token, body: &[u8]);

    /// Finds out what the received bytes begin with.
    fn step(&self, bytes: &[u8]) -> Step<Self::Token>;
}

/// Reads decimal digits up to a delimiter: `(value, length with the delimiter)`.
fn decimal(bytes: &[u8], delimiter: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.windows(delimiter.len()).position(|window| window == delimiter)?;
    let digits = bytes.get(..end)?;
    let value = digits
        .iter()
        .try_fold(0_usize, |value, digit| digit.is_ascii_digit().then(|| value * 10 + usize::from(digit - b'0')))?;
    Some((value, end + delimiter.len()))
}

/// The error for a handshake that a broker refuses, with its answer.
fn refused(bytes: &[u8]) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the broker said {}", bytes.escape_ascii()))
}
