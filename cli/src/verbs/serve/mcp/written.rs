//! What a server writes, cut into lines. Each byte is looked at once, and a line that is too long is passed over to its end.

use std::time::{Duration, Instant};

use ipc_client::limits::MAX_BODY;

use super::skim::{Missed, Skim};

/// Its output after the last line, and lines that were not taken yet.
#[derive(Debug, Default)]
pub(super) struct Written {
    begun: Vec<u8>,
    /// A line that is passed over, and since when.
    long: Option<(Skim, Instant)>,
    lines: Vec<Line>,
}

/// A line that isn't blank.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// With its line break.
    Whole(Vec<u8>),
    /// It was longer than [`LONGEST`].
    TooLong(Missed),
}

impl Written {
    /// Takes what it has written.
    pub(super) fn add(&mut self, bytes: &[u8], now: Instant) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match &mut self.long {
                Some((long, _)) => long.add(piece),
                None if self.begun.is_empty() && piece.trim_ascii().is_empty() => continue,
                None => self.begun.extend_from_slice(piece),
            }
            if self.begun.len() > LONGEST {
                let mut long = Skim::default();
                long.add(&std::mem::take(&mut self.begun));
                self.long = Some((long, now));
            }
            if piece.ends_with(b"\n") {
                let long = self.long.take().map(|(long, _)| Line::TooLong(long.missed()));
                self.lines.push(long.unwrap_or_else(|| Line::Whole(std::mem::take(&mut self.begun))));
            }
        }
    }

    /// The lines since the last time.
    pub(super) fn lines(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.lines)
    }

    /// When to look whether a long line has ended.
    pub(super) fn due(&self) -> Option<Instant> {
        self.long.as_ref().map(|(_, since)| *since + PATIENCE)
    }

    /// Whether it writes a line that doesn't end.
    pub(super) fn is_endless(&self, now: Instant) -> bool {
        self.long.as_ref().is_some_and(|(long, since)| long.length() > MOST_PASSED || *since + PATIENCE <= now)
    }
}

/// Bytes of a line: as many as a reply may have, and a frame around it.
pub(super) const LONGEST: usize = MAX_BODY as usize + 4096;
/// A longer line ends within this many bytes and this time. All other calls wait behind it.
const MOST_PASSED: usize = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Line> {
        let mut written = Written::default();
        pieces.iter().for_each(|piece| written.add(piece, Instant::now()));
        written.lines()
    }

    fn whole(line: &[u8]) -> Line {
        Line::Whole(line.to_vec())
    }

    #[test]
    fn lines_are_cut_at_their_ends_and_blank_ones_left_out() {
        assert_eq!(lines(&[b"a\n\n \r\nb", b"c\r", b"\nd"]), [whole(b"a\n"), whole(b"bc\r\n")]);
        assert_eq!(lines(&[&[b'\n'; 100_000]]), []);
    }

    #[test]
    fn a_line_of_the_limit_is_kept_and_a_longer_one_passed_over() {
        let line = |length: usize| [vec![b' '; length - 9], b"{\"id\":7}\n".to_vec()].concat();
        let two = |length: usize| lines(&[b"x", &line(length - 1), b"b\n"]);
        assert_eq!(two(LONGEST), [whole(&[b"x", &line(LONGEST - 1)[..]].concat()), whole(b"b\n")]);
        assert_eq!(two(LONGEST + 1), [Line::TooLong(Missed::Nothing), whole(b"b\n")]);
        let answer = format!("{{\"result\":\"{}\",\"id\":7}}\n", "x".repeat(LONGEST));
        assert_eq!(lines(&[answer.as_bytes()]), [Line::TooLong(Missed::Answer(7))]);
    }

    #[test]
    fn a_line_without_end_is_noticed_by_its_length_and_by_its_time() {
        let (mut written, now) = (Written::default(), Instant::now());
        written.add(&vec![b'x'; LONGEST + 1], now);
        assert_eq!((written.due(), written.is_endless(now)), (Some(now + PATIENCE), false));
        assert!(written.is_endless(now + PATIENCE));
        written.add(&vec![b'x'; MOST_PASSED], now);
        assert!(written.is_endless(now));
        written.add(b"\n", now);
        assert_eq!((written.due(), written.is_endless(now)), (None, false));
    }
}
