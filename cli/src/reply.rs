//! Replies on standard output.

use std::borrow::Cow;

use ipc_client::{Encoding, Response};

use crate::{args::Format, base64, problem::Result, problem::is_json, stdout};

/// Prints the reply of one call: a body of bytes as it is, a JSON document with one line break at its end. With `-o json` bytes
/// travel as `{"encoding":"bytes","base64":"…"}`.
pub(crate) fn print(response: &Response, format: Format) -> Result<()> {
    stdout::payload(&document(response, format))
}

/// Prints the reply as one line among others (`--lines`).
pub(crate) fn print_line(response: &Response, format: Format) -> Result<()> {
    stdout::payload(&line(response, format))
}

/// A reply as JSON without a line break at its end: the document itself, or bytes wrapped.
pub(crate) fn json_document(response: &Response) -> Vec<u8> {
    if is_json(response) {
        return response.body.trim_ascii().to_vec();
    }
    format!(r#"{{"encoding":"{}","base64":"{}"}}"#, response.encoding, base64::encode(&response.body)).into_bytes()
}

/// A JSON document in one line. A line break inside a JSON string is always escaped, so those found stand between tokens.
pub(crate) fn in_one_line(document: &[u8]) -> Vec<u8> {
    document.trim_ascii().iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect()
}

fn document(response: &Response, format: Format) -> Cow<'_, [u8]> {
    if format == Format::Text && response.encoding != Encoding::JSON {
        return Cow::Borrowed(&response.body);
    }
    let mut document = match format {
        Format::Text => response.body.trim_ascii_end().to_vec(),
        Format::Json => json_document(response),
    };
    document.push(b'\n');
    Cow::Owned(document)
}

fn line(response: &Response, format: Format) -> Vec<u8> {
    let mut line = match format {
        Format::Text if response.encoding != Encoding::JSON => {
            response.body.strip_suffix(b"\n").unwrap_or(&response.body).to_vec()
        }
        Format::Text => in_one_line(&response.body),
        Format::Json => in_one_line(&json_document(response)),
    };
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(body: &'static str) -> Response {
        Response { encoding: Encoding::JSON, ..Response::bytes(body) }
    }

    #[test]
    fn bytes_come_out_as_they_are() {
        let reply = Response::bytes(&b"a\0\n\n"[..]);
        assert_eq!(&*document(&reply, Format::Text), b"a\0\n\n");
        assert_eq!(&*document(&Response::bytes(""), Format::Text), b"");
    }

    #[test]
    fn a_json_reply_ends_in_one_line_break() {
        assert_eq!(&*document(&json("{}"), Format::Text), b"{}\n");
        assert_eq!(&*document(&json("{}\n\n"), Format::Text), b"{}\n");
        assert_eq!(&*document(&json("{}"), Format::Json), b"{}\n");
    }

    #[test]
    fn bytes_travel_wrapped_in_json() {
        let reply = Response::bytes("hi");
        assert_eq!(&*document(&reply, Format::Json), b"{\"encoding\":\"bytes\",\"base64\":\"aGk=\"}\n");
        assert_eq!(
            &*document(&json("{broken"), Format::Json),
            b"{\"encoding\":\"json\",\"base64\":\"e2Jyb2tlbg==\"}\n"
        );
    }

    #[test]
    fn among_lines_a_reply_is_one_line() {
        assert_eq!(line(&Response::bytes("A\n"), Format::Text), b"A\n");
        assert_eq!(line(&Response::bytes("A"), Format::Text), b"A\n");
        assert_eq!(line(&json("{\n \"a\": 1\n}\n"), Format::Text), b"{  \"a\": 1 }\n");
    }
}
