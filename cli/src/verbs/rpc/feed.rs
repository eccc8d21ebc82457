//! What of standard input the broker is sent.
//!
//! The first byte of a connection selects its dialect, so none may leave that isn't the beginning of a message. Behind it all bytes leave
//! as they are: the broker says what is wrong with them, but for a message that has no end, of which it never learns.

use ipcd::front::json::{Scan, Scanner};

use super::due::Due;

/// Follows the messages in a stream as the broker does.
#[derive(Debug)]
pub(super) struct Feed {
    place: Place,
    scanner: Scanner,
    /// What was sent of a message that hasn't ended.
    begun: Vec<u8>,
    due: Due,
}

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the first message, behind this many bytes of a byte order mark.
    Start(usize),
    /// In a line before the first message that isn't one.
    Garbage,
    Between,
    Within,
    /// In a line in which something was malformed.
    Recovering,
}

impl Feed {
    pub(super) fn new() -> Self {
        Self { place: Place::Start(0), scanner: Scanner::new(), begun: Vec::new(), due: Due::default() }
    }

    /// What of the next bytes is to be sent, and how many lines before it are not JSON.
    pub(super) fn take<'a>(&mut self, mut bytes: &'a [u8]) -> (&'a [u8], usize) {
        let mut refused = 0;
        while let Some(byte) = bytes.first() {
            match (self.place, byte) {
                (Place::Start(at), byte) if MARK.get(at) == Some(byte) => self.place = Place::Start(at + 1),
                (Place::Start(0 | BEHIND_MARK), b' ' | b'\t' | b'\r' | b'\n') => self.place = Place::Start(BEHIND_MARK),
                (Place::Start(0 | BEHIND_MARK), b'{' | b'[') => {
                    self.place = Place::Between;
                    break;
                }
                (Place::Start(_), _) => {
                    refused += 1;
                    self.place = Place::Garbage;
                    continue;
                }
                (Place::Garbage, b'\n') => self.place = Place::Start(BEHIND_MARK),
                (Place::Garbage, _) => {}
                (Place::Between | Place::Within | Place::Recovering, _) => break,
            }
            bytes = bytes.get(1..).unwrap_or_default();
        }
        self.follow(bytes);
        (bytes, refused)
    }

    /// Whether a message has begun that hasn't ended.
    pub(super) fn is_within(&self) -> bool {
        matches!(self.place, Place::Within | Place::Start(1..BEHIND_MARK))
    }

    /// Answers that are due for what was sent.
    pub(super) fn due(&mut self) -> &mut Due {
        &mut self.due
    }

    fn follow(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first() {
            let (place, taken) = match (self.place, first) {
                (Place::Recovering, _) => match bytes.iter().position(|byte| *byte == b'\n') {
                    Some(at) => (Place::Between, at + 1),
                    None => return,
                },
                (Place::Within, _) => match self.scanner.scan(bytes) {
                    Scan::More => return self.begun.extend_from_slice(bytes),
                    Scan::End(at) => {
                        self.begun.extend_from_slice(bytes.get(..at).unwrap_or_default());
                        self.due.sent(&std::mem::take(&mut self.begun));
                        (Place::Between, at)
                    }
                    Scan::Malformed(at, _) => (Place::Recovering, at),
                },
                (_, b' ' | b'\t' | b'\r' | b'\n') => (Place::Between, 1),
                (_, b'{' | b'[') => {
                    (self.scanner, self.begun) = (Scanner::new(), Vec::new());
                    (Place::Within, 0)
                }
                _ => (Place::Recovering, 0),
            };
            self.place = place;
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }
}

/// The byte order mark of UTF-8, which some programs write before a text.
const MARK: [u8; 3] = *b"\xef\xbb\xbf";
/// All of it.
const BEHIND_MARK: usize = MARK.len();

#[cfg(test)]
mod tests {
    use super::*;

    /// What is sent of input that comes in these pieces, and how many lines are refused.
    fn sent(pieces: &[&[u8]]) -> (Vec<u8>, usize) {
        let mut feed = Feed::new();
        let taken: Vec<_> = pieces.iter().map(|piece| feed.take(piece)).collect();
        (taken.iter().flat_map(|(bytes, _)| bytes.to_vec()).collect(), taken.iter().map(|(_, lines)| lines).sum())
    }

    #[test]
    fn blanks_and_a_byte_order_mark_before_the_first_message_are_left_out() {
        assert_eq!(sent(&[b"\n \r\t{}\n\n[]"]), (b"{}\n\n[]".to_vec(), 0));
        assert_eq!(sent(&[b"\xef", b"\xbb\xbf\n", b"{}"]), (b"{}".to_vec(), 0));
    }

    #[test]
    fn a_line_that_is_none_is_refused_once_and_the_next_is_sent() {
        assert_eq!(sent(&[b"gar", b"bage {}\n{}"]), (b"{}".to_vec(), 1));
        assert_eq!(sent(&[b"1\n2\n\xef\xbb{}\n{}"]), (b"{}".to_vec(), 3));
    }

    #[test]
    fn what_follows_the_first_message_is_left_to_the_broker() {
        assert_eq!(sent(&[b"{}garbage\n", b"garbage"]), (b"{}garbage\ngarbage".to_vec(), 0));
    }

    fn is_within(input: &[u8]) -> bool {
        let mut feed = Feed::new();
        feed.take(input);
        feed.is_within()
    }

    #[test]
    fn a_message_without_an_end_is_noticed() {
        for input in [&b"{"[..], b"{\"a\":", b"{} [{}", b"{}x\n{\"}", b"[1]]\n[", b"\xef\xbb"] {
            assert!(is_within(input), "{input:?}");
        }
        for input in [&b""[..], b"\n", b"{}", b"{}\n", b"{]{", b"x{", b"{\"}\"}", b"\xef\xbb\xbf"] {
            assert!(!is_within(input), "{input:?}");
        }
    }
}
