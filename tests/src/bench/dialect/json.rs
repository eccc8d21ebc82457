//! JSON-RPC, as ipcd speaks it: a line for each message.

use std::{
    io::{self, Write},
    os::fd::BorrowedFd,
};

use super::{Dialect, Found, Ipcd, Part, Step, refused};
use crate::bench::intake::exchange;

/// The JSON-RPC dialect of ipcd: one service with one method.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Json;

impl Dialect for Json {
    /// The broker's number of a call.
    type Token = u64;

    fn introduce(&mut self, socket: BorrowedFd<'_>, part: Part) -> io::Result<()> {
        let (service, window) = (Ipcd::SERVICE, Ipcd::WINDOW);
        let (method, params) = match part {
            Part::Service => ("register", format!(r#"{{"name":"{service}","window":{window}}}"#)),
            Part::Client(_) => ("ping", "{}".to_owned()),
            Part::Subscriber => ("subscribe", r#"{"pattern":"bench."}"#.to_owned()),
        };
        let request = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"ipc.{method}","params":{params}}}"#);
        let answer = exchange(socket, request.as_bytes(), |bytes| bytes.ends_with(b"\n"))?;
        if answer.starts_with(br#"{"jsonrpc":"2.0","id":0,"result":"#) { Ok(()) } else { Err(refused(&answer)) }
    }

    fn put_call(&self, out: &mut Vec<u8>, body: &[u8]) {
        // The id has twenty digits, as many as a number may need. It is the same for all: nothing looks at it here.
        out.extend_from_slice(br#"{"jsonrpc":"2.0","id":10000000000000000000,"method":"bench.echo","params":[""#);
        out.extend_from_slice(body);
        out.extend_from_slice(br#""],"meta":{"timeout_ms":60000}}"#);
    }

    fn put_event(&self, out: &mut Vec<u8>, body: &[u8]) {
        out.extend_from_slice(br#"{"jsonrpc":"2.0","method":"ipc.publish","params":{"topic":"bench.event","body":[""#);
        out.extend_from_slice(body);
        out.extend_from_slice(br#""]}}"#);
    }

    fn renumber(&self, _message: &mut [u8], _serial: u64) {}

    fn put_reply(&self, out: &mut Vec<u8>, token: u64, body: &[u8]) {
        write!(out, r#"{{"jsonrpc":"2.0","id":"{token}","result":["#).expect("a vector takes what it is given");
        out.push(b'"');
        out.extend_from_slice(body);
        out.extend_from_slice(b"\"]}");
    }

    fn step(&self, bytes: &[u8]) -> Step<u64> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Step::Incomplete };
        let line = &bytes[..end];
        if let Some(rest) = line.strip_prefix(REPLY) {
            return Step::Found(found(line, rest, 0));
        }
        if let Some(rest) = line.strip_prefix(EVENT) {
            let rest = &rest[rest.iter().position(|byte| *byte == b'[').expect("an event has a body") + 2..];
            return Step::Found(found(line, rest, 0));
        }
        let rest = line.strip_prefix(DELIVERED).unwrap_or_else(|| panic!("{}", refused(line)));
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let token = rest[..digits].iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
        let rest = rest[digits..].strip_prefix(CALL).unwrap_or_else(|| panic!("{}", refused(line)));
        Step::Found(found(line, rest, token))
    }
}

/// The text that `rest` begins with, in a line.
fn found(line: &[u8], rest: &[u8], token: u64) -> Found<u64> {
    let start = line.len() - rest.len();
    let len = rest.iter().position(|byte| *byte == b'"').expect("a text ends");
    Found { len: line.len() + 1, body: start..start + len, token }
}

/// How the lines begin.
const REPLY: &[u8] = br#"{"jsonrpc":"2.0","id":10000000000000000000,"result":[""#;
const EVENT: &[u8] = br#"{"jsonrpc":"2.0","method":"$/event","#;
const DELIVERED: &[u8] = br#"{"jsonrpc":"2.0","id":""#;
/// What follows the number of a delivered call.
const CALL: &[u8] = br#"","method":"$/call","params":{"service":"bench","method":"echo","params":[""#;
