//! Makes foreign text harmless to a terminal and to programs that read line by line.

use std::{borrow::Cow, fmt::Write as _};

/// Text in one line: each control character, line breaks included, becomes an escape such as `\n` or `\u{1b}`. For error lines
/// and tables, on a terminal or not: a peer must not be able to forge a second line.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_control) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().fold(String::with_capacity(text.len() + 8), |mut line, character| {
        push(&mut line, character, is_control(character));
        line
    }))
}

/// Whether it moves what stands around it: a control character, one that turns the direction of the text, or a line break of Unicode.
fn is_control(character: char) -> bool {
    let turns =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || turns || matches!(character, '\u{2028}' | '\u{2029}')
}

/// What an error line repeats of an argument: enough to know it by.
pub(crate) fn short(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MOST) {
        Some(_) => Cow::Owned(text.chars().take(MOST).chain(['…']).collect()),
        None => Cow::Borrowed(text),
    }
}

/// A payload for a terminal: as it is, except that what [`line()`] escapes, other than line feed and tab, and bytes that are not
/// UTF-8, become escapes. Some terminals obey C1 controls in either form.
pub(crate) fn terminal(bytes: &[u8]) -> Cow<'_, [u8]> {
    let is_harmless = |c: char| !is_control(c) || matches!(c, '\n' | '\t');
    if std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(is_harmless)) {
        return Cow::Borrowed(bytes);
    }
    let mut shown = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|character| push(&mut shown, character, !is_harmless(character)));
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}"); // writing to a String cannot fail
        }
    }
    Cow::Owned(shown.into_bytes())
}

fn push(text: &mut String, character: char, escape: bool) {
    if escape {
        text.extend(character.escape_default());
    } else {
        text.push(character);
    }
}

/// Characters of an argument in an error line.
const MOST: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_argument_is_cut() {
        assert_eq!(short(&"é".repeat(MOST)), "é".repeat(MOST));
        assert_eq!(short(&"é".repeat(MOST + 1)), "é".repeat(MOST) + "…");
    }

    #[test]
    fn a_second_line_cannot_be_forged() {
        assert_eq!(line("all well"), "all well");
        assert_eq!(line("a\nipcctl: b\r\0\u{9b}2J"), "a\\nipcctl: b\\r\\u{0}\\u{9b}2J");
        assert_eq!(line("naïve ✓"), "naïve ✓");
    }

    #[test]
    fn text_cannot_be_turned_around_nor_broken() {
        assert_eq!(line("a\u{202e}b\u{2066}c\u{200f}\u{61c}"), "a\\u{202e}b\\u{2066}c\\u{200f}\\u{61c}");
        assert_eq!(line("a\u{2028}b\u{2029}"), "a\\u{2028}b\\u{2029}");
        assert_eq!(&*terminal("a\u{202e}b\u{2028}\n".as_bytes()), b"a\\u{202e}b\\u{2028}\n");
        assert_eq!(line("שלום ✓"), "שלום ✓");
    }

    #[test]
    fn a_payload_cannot_drive_the_terminal() {
        assert_eq!(&*terminal(b"a\tb\n"), b"a\tb\n");
        assert_eq!(&*terminal(b"\x1b[2J"), b"\\u{1b}[2J");
        assert_eq!(&*terminal(b"ok \x9b2J \xff"), b"ok \\x9b2J \\xff");
        assert_eq!(&*terminal("é\u{9b}".as_bytes()), "é\\u{9b}".as_bytes());
    }
}
