//! Bodies on their way into JSON and out of it (docs/json-rpc.md, "Bodies").

use std::ops::Range;

use bytes::Bytes;
use ipc_protocol::{Body, Encoding};

use super::{
    base64,
    scan::{Scan, Scanner, is_blank},
    value::{Parts, text},
};

/// What a text stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Texts {
    /// A JSON document, like every other value.
    Json,
    /// Its own bytes.
    Bytes,
}

/// The body that a value of `whole` stands for.
pub(super) fn read<F>(whole: &Bytes, at: Range<usize>, texts: Texts, is_own: bool) -> (Encoding, Body<F>) {
    let value = whole.get(at.clone()).unwrap_or_default();
    if texts == Texts::Bytes
        && let Some(text) = text(value)
    {
        return (Encoding::BYTES, text.into_owned().into());
    }
    if let Some(bytes) = bytes_in(value) {
        return (Encoding::BYTES, bytes.into());
    }
    // What is kept beyond this turn is copied, unless it is most of what it would pin.
    let is_most = is_own && 2 * value.len() > whole.len();
    let body = whole.slice(at);
    (Encoding::JSON, if is_most { body.into() } else { Body::pinned(body) })
}

/// The bytes that `{"$bytes":"..."}` stands for. With anything else in it, it is an object like any other.
fn bytes_in(value: &[u8]) -> Option<Vec<u8>> {
    if value.first() != Some(&b'{') {
        return None;
    }
    let mut members = Parts::of(value);
    let (_, at) = members.member().filter(|(name, _)| name == BYTES)?;
    let digits = text(value.get(at)?)?;
    if members.member().is_some() {
        return None;
    }
    base64::decode(digits.as_bytes())
}

/// Appends a body as a value without a line end. The broker hasn't looked at it so far: one that isn't what its encoding says goes as
/// bytes.
pub(super) fn write(encoding: Encoding, body: &[u8], out: &mut Vec<u8>) {
    match encoding {
        Encoding::JSON if body.is_empty() => out.extend_from_slice(b"null"),
        Encoding::JSON if write_json(body, out) => {}
        Encoding::BYTES | Encoding::JSON => match str::from_utf8(body).ok().filter(|text| is_text(text)) {
            Some(text) => write_text(text, out),
            None => write_bytes(body, out),
        },
        _ => write_bytes(body, out),
    }
}

/// Appends a document. Line ends, which can only stand between its tokens, are left out; line separators are escaped.
fn write_json(body: &[u8], out: &mut Vec<u8>) -> bool {
    let body = trim(body);
    let mut scanner = Scanner::new();
    let is_whole = match scanner.scan(body) {
        Scan::End(end) => end == body.len(),
        Scan::More => scanner.may_end(),
        Scan::Malformed(..) => false,
    };
    if !is_whole {
        return false;
    }
    match scanner.is_lined() {
        true => write_in_line(body, out),
        false => out.extend_from_slice(body),
    }
    true
}

fn trim(body: &[u8]) -> &[u8] {
    let end = body.iter().rposition(|byte| !is_blank(*byte)).map_or(0, |last| last + 1);
    let start = body.iter().position(|byte| !is_blank(*byte)).unwrap_or(0);
    body.get(start..end).unwrap_or_default()
}

fn write_in_line(body: &[u8], out: &mut Vec<u8>) {
    let mut rest = body;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r' | 0xe2)) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let (written, len): (&[u8], usize) = match special {
            [0xe2, 0x80, 0xa8, ..] => (br"\u2028", 3),
            [0xe2, 0x80, 0xa9, ..] => (br"\u2029", 3),
            [0xe2, ..] => (&[0xe2], 1),
            _ => (b"", 1),
        };
        out.extend_from_slice(written);
        rest = special.get(len..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// Whether bytes go as a text. Of the control characters, only those that a text file has: any other would take six bytes.
fn is_text(text: &str) -> bool {
    text.bytes().all(|byte| byte >= 0x20 || matches!(byte, b'\t' | b'\n' | b'\r'))
}

/// Appends a text in quotes.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\' | 0xe2)) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let (written, len): (&[u8], usize) = match special {
            [b'"', ..] => (br#"\""#, 1),
            [b'\\', ..] => (br"\\", 1),
            [b'\n', ..] => (br"\n", 1),
            [b'\r', ..] => (br"\r", 1),
            [b'\t', ..] => (br"\t", 1),
            [0xe2, 0x80, 0xa8, ..] => (br"\u2028", 3),
            [0xe2, 0x80, 0xa9, ..] => (br"\u2029", 3),
            [0xe2, ..] => (&[0xe2], 1),
            _ => (b"\\ufffd", 1), // any other control character, in a sentence of an error
        };
        out.extend_from_slice(written);
        rest = special.get(len..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"$bytes\":\"");
    base64::encode(bytes, out);
    out.extend_from_slice(b"\"}");
}

/// The only member of an object that stands for bytes.
const BYTES: &str = "$bytes";

#[cfg(test)]
mod tests {
    use ipc_protocol::NoFd;

    use super::*;

    fn written(encoding: Encoding, body: &[u8]) -> String {
        let mut out = Vec::new();
        write(encoding, body, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn read_back(value: &str, texts: Texts) -> (Encoding, Vec<u8>) {
        let whole = Bytes::copy_from_slice(value.as_bytes());
        let (encoding, body) = read::<NoFd>(&whole, 0..value.len(), texts, false);
        (encoding, body.to_vec())
    }

    #[test]
    fn a_body_goes_as_a_value_in_one_line() {
        for (encoding, body, value) in [
            (Encoding::JSON, &b"{\"a\":1}"[..], r#"{"a":1}"#),
            (Encoding::JSON, b" [1,\r\n  2]\n", "[1,  2]"),
            (Encoding::JSON, "\"a\u{2028}b\u{20ac}\u{2029}\"".as_bytes(), "\"a\\u2028b\u{20ac}\\u2029\""),
            (Encoding::JSON, b"12", "12"),
            (Encoding::JSON, b"", "null"),
            (Encoding::JSON, b"}\n{", r#""}\n{""#),
            (Encoding::JSON, b"1 2", r#""1 2""#),
            (Encoding::JSON, b"\x0c12", r#"{"$bytes":"DDEy"}"#),
            (Encoding::BYTES, b"{\"a\":1}", r#""{\"a\":1}""#),
            (Encoding::BYTES, "a\tb\n\u{2028}\u{20ac}".as_bytes(), "\"a\\tb\\n\\u2028\u{20ac}\""),
            (Encoding::BYTES, b"", r#""""#),
            (Encoding::BYTES, &[0, 255], r#"{"$bytes":"AP8="}"#),
            (Encoding::BYTES, &[0], r#"{"$bytes":"AA=="}"#),
            (Encoding::BINCODE, b"abc", r#"{"$bytes":"YWJj"}"#),
        ] {
            assert_eq!(written(encoding, body), value);
        }
    }

    #[test]
    fn a_value_is_the_body_that_it_stands_for() {
        assert_eq!(read_back(r#"{"a":1}"#, Texts::Bytes), (Encoding::JSON, br#"{"a":1}"#.to_vec()));
        assert_eq!(read_back(r#""a\nb""#, Texts::Bytes), (Encoding::BYTES, b"a\nb".to_vec()));
        assert_eq!(read_back(r#""a\nb""#, Texts::Json), (Encoding::JSON, br#""a\nb""#.to_vec()));
        assert_eq!(read_back(r#"{"$bytes":"AP8="}"#, Texts::Json), (Encoding::BYTES, vec![0, 255]));
        assert_eq!(read_back(r#"{"$bytes":"AP8=","a":1}"#, Texts::Json).0, Encoding::JSON);
        assert_eq!(read_back(r#"{"$bytes":1}"#, Texts::Json).0, Encoding::JSON);
        assert_eq!(read_back(r#"{"$bytes":"?"}"#, Texts::Json).0, Encoding::JSON);
    }
}
