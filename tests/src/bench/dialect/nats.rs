//! NATS core: a call is a PUB with a reply subject, a reply a PUB to that subject.

use std::{
    io::{self, Write},
    os::fd::BorrowedFd,
};

use super::{Dialect, Found, Part, Step};
use crate::bench::intake::exchange;

/// The dialect of NATS, with the reply subject of the connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Nats {
    subject: Subject,
}

/// A reply subject: a letter and seven digits.
type Subject = [u8; 8];

impl Dialect for Nats {
    type Token = Subject;

    fn introduce(&mut self, socket: BorrowedFd<'_>, part: Part) -> io::Result<()> {
        let subject = match part {
            Part::Service => "service0".to_owned(),
            Part::Subscriber => "events00".to_owned(),
            Part::Client(number) => format!("r{number:07}"),
        };
        self.subject = subject.as_bytes().try_into().expect("a letter and seven digits are eight bytes");
        let request = format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB {subject} 1\r\nPING\r\n");
        exchange(socket, request.as_bytes(), |bytes| bytes.ends_with(b"PONG\r\n")).map(drop)
    }

    fn put_call(&self, out: &mut Vec<u8>, body: &[u8]) {
        out.extend_from_slice(b"PUB service0 ");
        out.extend_from_slice(&self.subject);
        finish(out, body);
    }

    fn put_event(&self, out: &mut Vec<u8>, body: &[u8]) {
        out.extend_from_slice(b"PUB events00");
        finish(out, body);
    }

    fn renumber(&self, _frame: &mut [u8], _serial: u64) {}

    fn put_reply(&self, out: &mut Vec<u8>, token: Subject, body: &[u8]) {
        out.extend_from_slice(b"PUB ");
        out.extend_from_slice(&token);
        finish(out, body);
    }

    fn step(&self, bytes: &[u8]) -> Step<Subject> {
        let Some(line_len) = bytes.windows(2).position(|window| window == b"\r\n") else { return Step::Incomplete };
        let line = &bytes[..line_len];
        assert!(!line.starts_with(b"-ERR"), "the broker said {}", line.escape_ascii());
        if !line.starts_with(b"MSG ") {
            return Step::Skip(line_len + 2);
        }
        // MSG subject sid [reply] bytes
        let mut words = line.rsplit(|byte| *byte == b' ');
        let body_len = words.next().and_then(decimal_word).expect("a message ends in its length");
        let token = words.next().and_then(|word| word.try_into().ok()).unwrap_or_default();
        let start = line_len + 2;
        let len = start + body_len + 2;
        if bytes.len() < len {
            return Step::Incomplete;
        }
        Step::Found(Found { len, body: start..start + body_len, token })
    }
}

fn finish(out: &mut Vec<u8>, body: &[u8]) {
    write!(out, " {}\r\n", body.len()).expect("a vector takes what it is given");
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
}

fn decimal_word(word: &[u8]) -> Option<usize> {
    str::from_utf8(word).ok()?.parse().ok()
}
