//! JSON documents as text: checked, put in one line, and wrapped around bytes that are not JSON. Never parsed into values: that would
//! change numbers beyond f64.

use ipc_client::{Encoding, Response};
use serde::de::IgnoredAny;

/// Whether bytes are one JSON document; the error tells where they are not.
pub(crate) fn check(bytes: &[u8]) -> serde_json::Result<()> {
    serde_json::from_slice::<IgnoredAny>(bytes).map(drop)
}

/// A reply as JSON without a line break at its end: the document itself, or bytes wrapped, as text where they are text.
pub(crate) fn document(response: &Response) -> Vec<u8> {
    if is_document(response.encoding, &response.body) {
        return response.body.trim_ascii().to_vec();
    }
    format!("{{{}}}", wrapped(response.encoding, &response.body)).into_bytes()
}

/// A body as members of an object: `"encoding":"json","body":…` for a document, else as in [`document`].
pub(crate) fn members(encoding: Encoding, body: &[u8]) -> Vec<u8> {
    if is_document(encoding, body) {
        return [br#""encoding":"json","body":"#, body.trim_ascii()].concat();
    }
    wrapped(encoding, body).into_bytes()
}

fn is_document(encoding: Encoding, body: &[u8]) -> bool {
    encoding == Encoding::JSON && check(body).is_ok()
}

fn wrapped(encoding: Encoding, body: &[u8]) -> String {
    let (member, value) = match std::str::from_utf8(body) {
        Ok(text) => ("text", serde_json::to_string(text).expect("a string always serializes")),
        Err(_) => ("base64", format!("\"{}\"", base64(body))),
    };
    format!(r#""encoding":"{encoding}","{member}":{value}"#)
}

/// A JSON document in one line. A line break inside a JSON string is always escaped, so those found stand between tokens.
pub(crate) fn in_one_line(document: &[u8]) -> Vec<u8> {
    document.trim_ascii().iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect()
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes in base64 (RFC 4648, section 4), with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let is_padding = digit > chunk.len();
            let index = (group >> (18 - 6 * digit)) & 0x3f;
            text.push(if is_padding { '=' } else { char::from(ALPHABET[index as usize]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_vectors_of_the_standard() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg==");
        assert_eq!(base64(b"fo"), "Zm8=");
        assert_eq!(base64(b"foo"), "Zm9v");
        assert_eq!(base64(b"foobar"), "Zm9vYmFy");
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }
}
