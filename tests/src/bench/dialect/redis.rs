//! Redis PUBLISH/SUBSCRIBE over RESP3, since with RESP2 one connection cannot do both. A call is a message on the service's
//! channel, and its first eight bytes name the caller's channel, where the reply is published.

use std::{io, os::fd::BorrowedFd};

use super::{Dialect, Found, Part, Step, decimal};
use crate::bench::intake::exchange;

/// The dialect of Redis, with the reply channel of the connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Redis {
    channel: Channel,
}

/// A channel's name: a letter and seven digits.
type Channel = [u8; 8];

impl Redis {
    const SERVICE: Channel = *b"service0";
    const EVENTS: Channel = *b"events00";
    const PUBLISH: &[u8] = b"*3\r\n$7\r\nPUBLISH\r\n$8\r\n";
    /// What each message begins with, up to its channel's name: all names have eight bytes.
    const MESSAGE: &[u8] = b">3\r\n$7\r\nmessage\r\n$8\r\n";

    fn publish(out: &mut Vec<u8>, channel: Channel, parts: [&[u8]; 2]) {
        out.extend_from_slice(Self::PUBLISH);
        out.extend_from_slice(&channel);
        out.extend_from_slice(b"\r\n$");
        push_decimal(out, parts[0].len() + parts[1].len());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(parts[0]);
        out.extend_from_slice(parts[1]);
        out.extend_from_slice(b"\r\n");
    }
}

impl Dialect for Redis {
    type Token = Channel;

    fn introduce(&mut self, socket: BorrowedFd<'_>, part: Part) -> io::Result<()> {
        self.channel = match part {
            Part::Service => Self::SERVICE,
            Part::Subscriber => Self::EVENTS,
            Part::Client(number) => {
                format!("r{number:07}").into_bytes().try_into().expect("a letter and seven digits are eight bytes")
            }
        };
        let mut request = b"HELLO 3\r\nSUBSCRIBE ".to_vec();
        request.extend_from_slice(&self.channel);
        // Turns off the replies to PUBLISH, whose wake-ups would count against Redis. Pushed messages still arrive.
        request.extend_from_slice(b"\r\nCLIENT REPLY OFF\r\n");
        let done = |bytes: &[u8]| bytes.ends_with(b":1\r\n") && bytes.windows(9).any(|window| window == b"subscribe");
        exchange(socket, &request, done).map(drop)
    }

    fn put_call(&self, out: &mut Vec<u8>, body: &[u8]) {
        Self::publish(out, Self::SERVICE, [&self.channel, body.get(self.channel.len()..).unwrap_or_default()]);
    }

    fn put_event(&self, out: &mut Vec<u8>, body: &[u8]) {
        Self::publish(out, Self::EVENTS, [body, &[]]);
    }

    fn renumber(&self, _frame: &mut [u8], _serial: u64) {}

    fn put_reply(&self, out: &mut Vec<u8>, token: Channel, body: &[u8]) {
        Self::publish(out, token, [body, &[]]);
    }

    fn step(&self, bytes: &[u8]) -> Step<Channel> {
        let Some(rest) = bytes.strip_prefix(Self::MESSAGE) else {
            assert!(bytes.len() < Self::MESSAGE.len(), "no message: {}", bytes[..32].escape_ascii());
            return Step::Incomplete;
        };
        // The channel's name, CR LF and a dollar sign precede the length.
        let Some((body_len, digits)) = rest.get(11..).and_then(|rest| decimal(rest, b"\r\n")) else {
            return Step::Incomplete;
        };
        let start = Self::MESSAGE.len() + 11 + digits;
        let len = start + body_len + 2;
        if bytes.len() < len {
            return Step::Incomplete;
        }
        let token = bytes[start..].first_chunk().copied().unwrap_or_default();
        Step::Found(Found { len, body: start..start + body_len, token })
    }
}

fn push_decimal(out: &mut Vec<u8>, value: usize) {
    use std::io::Write;
    write!(out, "{value}").expect("a vector takes what it is given");
}
