//! The end of what a command wrote to standard error: the text of its error.

/// Bytes kept. The text of an error holds 2 KiB.
const MOST: usize = 1024;

/// The end of a text of any length.
#[derive(Debug, Default)]
pub(crate) struct Tail(Vec<u8>);

impl Tail {
    /// Appends a piece.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&bytes[bytes.len().saturating_sub(MOST)..]);
        self.0.drain(..self.0.len().saturating_sub(MOST));
    }

    /// The text, trimmed. If its start is lost, it begins at a line break, where there is one.
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let text = match text.split_once('\n') {
            Some((_, rest)) if self.0.len() == MOST && !rest.trim().is_empty() => rest,
            _ => &*text,
        };
        text.trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_kept_whole() {
        let mut tail = Tail::default();
        tail.push(b"no such ");
        tail.push(b"thing\n");
        assert_eq!(tail.text(), "no such thing");
        assert_eq!(Tail::default().text(), "");
    }

    #[test]
    fn of_a_long_text_the_last_lines_are_kept() {
        let mut tail = Tail::default();
        tail.push(&b"x".repeat(5_000));
        tail.push(b"\nlast line\n");
        assert_eq!(tail.text(), "last line");
    }

    #[test]
    fn of_a_long_line_the_end_is_kept() {
        let mut tail = Tail::default();
        (0..2_000).for_each(|_| tail.push("é".as_bytes()));
        assert!(tail.text().len() <= MOST + 3);
        assert!(tail.text().ends_with("éé"));
    }
}
