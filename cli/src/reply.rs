//! Replies on standard output.

use std::borrow::Cow;

use ipc_client::{Encoding, Response};

use crate::{
    format::Format,
    json, out,
    problem::{Problem, Result},
};

/// How the reply of one call ends on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As the service wrote it.
    AsItIs,
    /// With a line break, added where it is missing (`--newline`).
    LineBreak,
}

/// Prints the reply of one call: a body of bytes as it is, a JSON document with one line break at its end. With `-o json` bytes
/// travel as `{"encoding":"bytes","text":"…"}`.
pub(crate) fn print(response: &Response, format: Format, ending: Ending) -> Result<()> {
    out::payload(&document(response, format, ending))
}

/// Prints the reply as one line among others (`--lines`).
pub(crate) fn print_line(response: &Response, format: Format, subject: &str) -> Result<()> {
    out::payload(&own_line(response, format, subject)?)
}

/// The reply as one line among others. One that is several lines would be taken for the answers to later calls.
pub(crate) fn own_line(response: &Response, format: Format, subject: &str) -> Result<Vec<u8>> {
    line(response, format).ok_or_else(|| {
        let text = "the reply is more than one line, and --lines prints one for each call";
        let hint = "the call has run; -o json puts any reply into one line";
        Problem::own("output", 74, subject, text).hint(hint)
    })
}

fn document(response: &Response, format: Format, ending: Ending) -> Cow<'_, [u8]> {
    if format == Format::Text && response.encoding != Encoding::JSON {
        return match ending {
            Ending::LineBreak if !response.body.ends_with(b"\n") => Cow::Owned([&response.body, &b"\n"[..]].concat()),
            Ending::LineBreak | Ending::AsItIs => Cow::Borrowed(&response.body),
        };
    }
    let mut document = match format {
        Format::Text => response.body.trim_ascii_end().to_vec(),
        Format::Json => json::document(response),
    };
    document.push(b'\n');
    Cow::Owned(document)
}

/// A body as one line; `None` if it is more.
pub(crate) fn line(response: &Response, format: Format) -> Option<Vec<u8>> {
    let mut line = match format {
        Format::Text if response.encoding != Encoding::JSON => {
            let text = response.body.strip_suffix(b"\n").unwrap_or(&response.body);
            if text.contains(&b'\n') {
                return None;
            }
            text.to_vec()
        }
        Format::Text => json::in_one_line(&response.body),
        Format::Json => json::in_one_line(&json::document(response)),
    };
    line.push(b'\n');
    Some(line)
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
        assert_eq!(&*document(&reply, Format::Text, Ending::AsItIs), b"a\0\n\n");
        assert_eq!(&*document(&Response::bytes(""), Format::Text, Ending::AsItIs), b"");
    }

    #[test]
    fn a_json_reply_ends_in_one_line_break() {
        assert_eq!(&*document(&json("{}"), Format::Text, Ending::AsItIs), b"{}\n");
        assert_eq!(&*document(&json("{}\n\n"), Format::Text, Ending::AsItIs), b"{}\n");
        assert_eq!(&*document(&json("{}"), Format::Json, Ending::AsItIs), b"{}\n");
    }

    #[test]
    fn bytes_travel_wrapped_in_json() {
        let reply = Response::bytes("hi");
        assert_eq!(&*document(&reply, Format::Json, Ending::AsItIs), b"{\"encoding\":\"bytes\",\"text\":\"hi\"}\n");
        let binary = Response::bytes(&b"\xff\xfe"[..]);
        let shown = document(&binary, Format::Json, Ending::AsItIs);
        assert_eq!(&*shown, b"{\"encoding\":\"bytes\",\"base64\":\"//4=\"}\n");
        assert_eq!(
            &*document(&json("{broken"), Format::Json, Ending::AsItIs),
            b"{\"encoding\":\"json\",\"text\":\"{broken\"}\n"
        );
    }

    #[test]
    fn among_lines_a_reply_is_one_line() {
        let text = |response: &Response| line(response, Format::Text).map(|line| String::from_utf8(line).unwrap());
        assert_eq!(text(&Response::bytes("A\n")).as_deref(), Some("A\n"));
        assert_eq!(text(&Response::bytes("A")).as_deref(), Some("A\n"));
        assert_eq!(text(&json("{\n \"a\": 1\n}\n")).as_deref(), Some("{  \"a\": 1 }\n"));
    }

    #[test]
    fn a_reply_of_two_lines_is_none_among_lines_but_in_json() {
        let reply = Response::bytes("A\nB\n");
        assert_eq!(line(&reply, Format::Text), None);
        assert_eq!(line(&reply, Format::Json).unwrap(), b"{\"encoding\":\"bytes\",\"text\":\"A\\nB\\n\"}\n");
    }

    #[test]
    fn a_line_break_is_added_where_it_is_missing() {
        let with = |body: &'static str| document(&Response::bytes(body), Format::Text, Ending::LineBreak).into_owned();
        assert_eq!((with("a"), with("a\n"), with("")), (b"a\n".to_vec(), b"a\n".to_vec(), b"\n".to_vec()));
    }
}
