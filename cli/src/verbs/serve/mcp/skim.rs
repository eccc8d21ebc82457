//! A line that is too long to be kept: read as it passes by, for the call that it would have answered. Some servers write the id first,
//! others last, behind the result.

/// What is known of the line so far.
#[derive(Debug, Default)]
pub(super) struct Skim {
    length: usize,
    begins_with: Option<u8>,
    depth: usize,
    is_in_text: bool,
    is_escaped: bool,
    /// The beginning of the last text, with which members are told apart.
    text: Vec<u8>,
    /// The value that is read is that of the id.
    is_id: bool,
    digits: Vec<u8>,
    id: Option<u64>,
    has_method: bool,
}

/// What the line would have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// No answer: a notification, a request, or words for people.
    Nothing,
    /// The answer to this request.
    Answer(u64),
    /// Perhaps an answer, perhaps several.
    Perhaps,
}

impl Skim {
    /// Reads on.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.length = self.length.saturating_add(bytes.len());
        bytes.iter().for_each(|byte| self.byte(*byte));
    }

    /// Bytes so far.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// What it was, at its end.
    pub(super) fn missed(&self) -> Missed {
        match (self.begins_with, self.id) {
            (Some(b'{'), _) if self.has_method => Missed::Nothing,
            (Some(b'{'), Some(id)) => Missed::Answer(id),
            (Some(b'{' | b'['), _) => Missed::Perhaps,
            _ => Missed::Nothing,
        }
    }

    fn byte(&mut self, byte: u8) {
        if self.is_in_text {
            return self.byte_of_text(byte);
        }
        if !byte.is_ascii_whitespace() {
            self.begins_with.get_or_insert(byte);
        }
        let is_outermost = self.depth == 1;
        match byte {
            b'"' => {
                self.is_in_text = true;
                self.text.clear();
            }
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b':' if is_outermost => {
                self.is_id = self.text == b"id";
                self.has_method |= self.text == b"method";
                self.digits.clear();
            }
            b',' if is_outermost => self.end_value(),
            b'}' | b']' => {
                if is_outermost {
                    self.end_value();
                }
                self.depth = self.depth.saturating_sub(1);
            }
            _ if is_outermost && self.is_id && !byte.is_ascii_whitespace() => push(&mut self.digits, byte),
            _ => {}
        }
    }

    fn byte_of_text(&mut self, byte: u8) {
        match byte {
            _ if std::mem::take(&mut self.is_escaped) => push(&mut self.text, byte),
            b'\\' => self.is_escaped = true,
            b'"' => self.is_in_text = false,
            _ => push(&mut self.text, byte),
        }
    }

    fn end_value(&mut self) {
        if std::mem::take(&mut self.is_id) {
            let number = std::str::from_utf8(&self.digits).ok().and_then(|digits| digits.parse().ok());
            self.id = self.id.or(number);
        }
    }
}

fn push(kept: &mut Vec<u8>, byte: u8) {
    if kept.len() < KEPT {
        kept.push(byte);
    }
}

/// One more than a number of 64 bits has, and than any name that is looked for.
const KEPT: usize = 21;

#[cfg(test)]
mod tests {
    use super::*;

    fn missed(line: &str) -> Missed {
        let mut skim = Skim::default();
        line.as_bytes().chunks(3).for_each(|piece| skim.add(piece));
        assert_eq!(skim.length(), line.len());
        skim.missed()
    }

    #[test]
    fn the_id_is_found_before_the_result_and_behind_it() {
        assert_eq!(missed(r#"{"jsonrpc":"2.0","id":1001,"result":{"id":5}}"#), Missed::Answer(1001));
        assert_eq!(
            missed(r#" {"result":{"id":5,"x":["\"id\":6"]},"jsonrpc":"2.0","id" : 1002 }"#),
            Missed::Answer(1002)
        );
        assert_eq!(missed(r#"{"error":{"message":"id"},"id":18446744073709551615}"#), Missed::Answer(u64::MAX));
    }

    #[test]
    fn what_has_a_method_or_is_for_people_answers_nothing() {
        assert_eq!(missed(r#"{"method":"notifications/progress","params":{"id":1}}"#), Missed::Nothing);
        assert_eq!(missed(r#"{"id":1,"params":{},"method":"ping"}"#), Missed::Nothing);
        assert_eq!(missed(r#"loading "id":1"#), Missed::Nothing);
        assert_eq!(missed("  "), Missed::Nothing);
    }

    #[test]
    fn an_answer_without_a_number_is_not_guessed_at() {
        assert_eq!(missed(r#"{"result":"id:7"}"#), Missed::Perhaps);
        assert_eq!(missed(r#"{"id":"7","result":1}"#), Missed::Perhaps);
        assert_eq!(missed(r#"{"id":184467440737095516160,"result":1}"#), Missed::Perhaps);
        assert_eq!(missed(r#"[{"id":7,"result":1}]"#), Missed::Perhaps);
        assert_eq!(missed(r#"{"id":7,"#), Missed::Answer(7));
    }
}
