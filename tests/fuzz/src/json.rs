//! What must hold of JSON-RPC for all input. `broker/tests/json.rs` runs the committed corpora through these on a stable toolchain.

use bytes::Bytes;
use ipc_protocol::{Encoding, NoFd, wire::Message};
use ipcd::front::{
    Incoming, Inlet,
    json::{Fault, Scan, Scanner, read_body, write_body},
};
use serde_json::Value;

/// The scanner finds the same values as serde_json, with the same ends, in one piece and byte by byte.
pub fn json(data: &[u8]) {
    let found = Scanner::new().scan(data);
    assert_eq!(scan_bytes(data), found, "byte by byte");
    let mut values = serde_json::Deserializer::from_slice(data).into_iter::<Value>();
    let expected = values.next();
    let is_container = matches!(data.iter().find(|byte| !BLANKS.contains(byte)), Some(b'{' | b'[' | b'"'));
    match (found, expected) {
        (Scan::End(end), Some(Ok(_))) if is_container => assert_eq!(end, values.byte_offset()),
        (Scan::Malformed(_, Fault::TooDeep), _) => {}
        // serde_json has no place for numbers this large, and stops a level earlier.
        (_, Some(Err(error))) if error.to_string().contains("out of range") => {}
        (_, Some(Err(error))) if error.to_string().contains("recursion limit") => {}
        (Scan::End(end), Some(Err(error))) if is_container => panic!("{end} is no end: {error}"),
        (found @ (Scan::More | Scan::Malformed(..)), Some(Ok(value))) if is_container => panic!("{found:?}: {value}"),
        _ => assert_eq!(is_whole(data), serde_json::from_slice::<Value>(data).is_ok()),
    }
}

/// A body survives the way into JSON and back: one that is JSON as the same value, any other byte for byte. Between them it is a value in
/// one line.
///
/// Input: a byte for the encoding, then the body.
pub fn crossing(data: &[u8]) {
    let Some((encoding, body)) = data.split_first() else { return };
    let encoding = Encoding(encoding % 3);
    let mut line = Vec::new();
    write_body(encoding, body, &mut line);
    let text = str::from_utf8(&line).expect("JSON is UTF-8");
    assert!(!text.contains(['\n', '\r', '\u{2028}', '\u{2029}']), "{text:?}");
    assert!(is_whole(&line), "{text:?}");
    let (_, back) = read_body::<NoFd>(&Bytes::from(line.clone()));
    let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    match encoding {
        Encoding::JSON if body.is_empty() => assert_eq!(back, *b"null"),
        // A text, and an object that stands for bytes, come back as those.
        Encoding::JSON if is_whole(body) => assert!(value(body) == value(&line), "{text:?}"),
        _ => assert_eq!(back, *body, "{text:?}"),
    }
}

/// However a stream of messages is cut, it has the same meaning.
pub fn messages(data: &[u8]) {
    let stream = [b"{", data].concat();
    let glued = read(stream.chunks(READ));
    assert_eq!(read(stream.chunks(1)), glued);
    assert_eq!(read(stream.chunks(7)), glued);
}

fn scan_bytes(data: &[u8]) -> Scan {
    let mut scanner = Scanner::new();
    for (at, byte) in data.iter().enumerate() {
        match scanner.scan(&[*byte]) {
            Scan::More => {}
            Scan::End(end) => return Scan::End(at + end),
            Scan::Malformed(_, fault) => return Scan::Malformed(at, fault),
        }
    }
    Scan::More
}

/// Whether the bytes are one value, and blanks.
fn is_whole(data: &[u8]) -> bool {
    let end = data.iter().rposition(|byte| !BLANKS.contains(byte)).map_or(0, |last| last + 1);
    let data = &data[..end];
    let mut scanner = Scanner::new();
    match scanner.scan(data) {
        Scan::End(end) => end == data.len(),
        Scan::More => scanner.may_end(),
        Scan::Malformed(..) => false,
    }
}

/// What an inlet makes of a stream, in words.
fn read<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let (mut inlet, mut seen) = (Inlet::default(), Vec::new());
    for chunk in chunks {
        inlet.feed(Bytes::copy_from_slice(chunk));
        let mut message = Message::<NoFd>::Pong(0);
        while let Some(incoming) = inlet.next(&mut message).expect("JSON-RPC has no violations") {
            match incoming {
                Incoming::Begun(_) => inlet.assemble(usize::MAX),
                Incoming::Message => seen.push(format!("{:?}", message.to_vec())),
                other => seen.push(format!("{other:?}")),
            }
        }
    }
    seen
}

/// What may stand between tokens.
const BLANKS: &[u8] = b" \t\r\n";
/// Bytes that are read at a time.
const READ: usize = 32 * 1024;
