//! Replies on standard output.

use std::borrow::Cow;

use ipc_client::{Encoding, Response};

use crate::{format::Format, json, out, problem::Result};

/// Prints the reply of one call: a body of bytes as it is, a JSON document with one line break at its end. With `-o json` bytes
/// travel as `{"encoding":"bytes","base64":"…"}`.
pub(crate) fn print(response: &Response, format: Format) -> Result<()> {
    out::payload(&document(response, format))
}

/// Prints the reply as one line among others (`--lines`).
pub(crate) fn print_line(response: &Response, format: Format) -> Result<()> {
    out::payload(&line(response, format))
}

fn document(response: &Response, format: Format) -> Cow<'_, [u8]> {
    if format == Format::Text && response.encoding != Encoding::JSON {
        return Cow::Borrowed(&response.body);
    }
    let mut document = match format {
        Format::Text => response.body.trim_ascii_end().to_vec(),
        Format::Json => json::document(response),
    };
    document.push(b'\n');
    Cow::Owned(document)
}

fn line(response: &Response, format: Format) -> Vec<u8> {
    let mut line = match format {
        Format::Text if response.encoding != Encoding::JSON => {
            response.body.strip_suffix(b"\n").unwrap_or(&response.body).to_vec()
        }
        Format::Text => json::in_one_line(&response.body),
        Format::Json => json::in_one_line(&json::document(response)),
    };
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(body: &'static str) -> Response {
        Response::new(Encoding::JSON, body)
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
