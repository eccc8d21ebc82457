//! The scanner: finds the end of a JSON value, byte by byte, and remembers nothing but where it is.
//!
//! It takes what RFC 8259 allows, in UTF-8, without surrogates that have no partner, and no deeper than [`Scanner::DEPTH`]. It goes on
//! where it stopped when more bytes come, needs no memory for a value however long, and calls itself for none.

use serde::{Deserialize, Serialize};

/// Where it is in a value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scanner {
    state: State,
    depth: u8,
    /// A bit for each open container, the innermost lowest: 1 for an object.
    objects: u128,
    /// Commas between the elements of the outermost array.
    commas: u32,
    /// Whether it has seen a line end, or what may be a line separator.
    is_lined: bool,
}

/// What it has found in the bytes that it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// The value goes on.
    More,
    /// The value ends before this byte.
    End(usize),
    /// The byte at this place can't be there.
    Malformed(usize, Fault),
}

/// Why bytes aren't a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// They break the grammar.
    Syntax,
    /// A text isn't UTF-8.
    NotUtf8,
    /// Half of a surrogate pair stands alone.
    Surrogate,
    /// Values are nested deeper than [`Scanner::DEPTH`].
    TooDeep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Value,
    FirstElement,
    FirstKey,
    Key,
    Colon,
    /// Behind a value in a container.
    After,
    Text(Text, Role),
    Number(Number),
    Literal(Literal, u8),
    End,
}

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Role {
    Key,
    Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Text {
    Plain,
    Escape,
    /// Digits that are missing, what they are so far, and whether they have to be the second half of a pair.
    Hex(u8, u16, bool),
    /// A first half of a pair is there; this many bytes of `\u` have followed.
    Half(u8),
    /// Bytes of a character that are missing, and the range of the next one.
    Utf8(u8, u8, u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Number {
    Minus,
    Zero,
    Integer,
    Dot,
    Fraction,
    Exponent,
    Sign,
    Power,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Literal {
    True,
    False,
    Null,
}

impl Scanner {
    /// Values that may be open at a time.
    pub const DEPTH: u8 = 128;

    /// Before a value.
    #[must_use]
    pub fn new() -> Self {
        Self { state: State::Value, depth: 0, objects: 0, commas: 0, is_lined: false }
    }

    /// Takes the next bytes. After an end or a fault, nothing more may follow.
    pub fn scan(&mut self, bytes: &[u8]) -> Scan {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if let State::Text(Text::Plain, role) = self.state {
                let rest = bytes.get(at..).unwrap_or_default();
                at += plain_len(rest);
                let Some(byte) = bytes.get(at) else { return Scan::More };
                match self.plain(*byte, role) {
                    Ok(state) => self.state = state,
                    Err(fault) => return Scan::Malformed(at, fault),
                }
                at += 1;
            } else {
                match self.step(*byte) {
                    Ok(Step::Taken) => at += 1,
                    Ok(Step::Again) => {}
                    Err(fault) => return Scan::Malformed(at, fault),
                }
            }
            if self.state == State::End {
                return Scan::End(at);
            }
        }
        Scan::More
    }

    /// Whether the value is complete if nothing follows, as a number may be.
    #[must_use]
    pub fn may_end(&self) -> bool {
        let whole = |number| matches!(number, Number::Zero | Number::Integer | Number::Fraction | Number::Power);
        match self.state {
            State::End => true,
            State::Number(number) => self.depth == 0 && whole(number),
            _ => false,
        }
    }

    /// Elements of the outermost array, once it has any.
    pub(super) fn elements(&self) -> usize {
        self.commas as usize + 1
    }

    /// Whether the value may have to be rewritten to stand in a line.
    pub(super) fn is_lined(&self) -> bool {
        self.is_lined
    }

    fn step(&mut self, byte: u8) -> Result<Step, Fault> {
        self.state = match self.state {
            State::Text(text, role) => State::Text(text.next(byte)?, role),
            State::Number(number) => match number.next(byte)? {
                Some(number) => State::Number(number),
                None => {
                    self.state = self.behind();
                    return Ok(Step::Again);
                }
            },
            State::Literal(literal, at) => {
                let rest = literal.rest();
                if rest.get(usize::from(at)) != Some(&byte) {
                    return Err(Fault::Syntax);
                }
                if usize::from(at) + 1 == rest.len() { self.behind() } else { State::Literal(literal, at + 1) }
            }
            state if is_blank(byte) => {
                self.is_lined |= matches!(byte, b'\r' | b'\n');
                state
            }
            State::FirstElement if byte == b']' => self.close(),
            State::Value | State::FirstElement => self.begin(byte)?,
            State::FirstKey if byte == b'}' => self.close(),
            State::FirstKey | State::Key if byte == b'"' => State::Text(Text::Plain, Role::Key),
            State::Colon if byte == b':' => State::Value,
            State::After => self.after(byte)?,
            State::FirstKey | State::Key | State::Colon | State::End => return Err(Fault::Syntax),
        };
        Ok(Step::Taken)
    }

    /// The first byte of a value.
    fn begin(&mut self, byte: u8) -> Result<State, Fault> {
        Ok(match byte {
            b'"' => State::Text(Text::Plain, Role::Value),
            b'{' => self.open(State::FirstKey)?,
            b'[' => self.open(State::FirstElement)?,
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Integer),
            b't' => State::Literal(Literal::True, 0),
            b'f' => State::Literal(Literal::False, 0),
            b'n' => State::Literal(Literal::Null, 0),
            _ => return Err(Fault::Syntax),
        })
    }

    fn open(&mut self, state: State) -> Result<State, Fault> {
        if self.depth == Self::DEPTH {
            return Err(Fault::TooDeep);
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(state == State::FirstKey);
        Ok(state)
    }

    fn close(&mut self) -> State {
        self.depth -= 1;
        self.objects >>= 1;
        self.behind()
    }

    /// The state behind a value.
    fn behind(&self) -> State {
        if self.depth == 0 { State::End } else { State::After }
    }

    fn after(&mut self, byte: u8) -> Result<State, Fault> {
        let is_object = self.objects & 1 == 1;
        match byte {
            b',' if is_object => Ok(State::Key),
            b',' => {
                self.commas += u32::from(self.depth == 1);
                Ok(State::Value)
            }
            b'}' if is_object => Ok(self.close()),
            b']' if !is_object => Ok(self.close()),
            _ => Err(Fault::Syntax),
        }
    }

    /// A byte of a text that is not an ordinary one.
    fn plain(&mut self, byte: u8, role: Role) -> Result<State, Fault> {
        let text = match byte {
            b'"' if role == Role::Key => return Ok(State::Colon),
            b'"' => return Ok(self.behind()),
            b'\\' => Text::Escape,
            0xc2..=0xdf => Text::Utf8(1, 0x80, 0xbf),
            0xe0 => Text::Utf8(2, 0xa0, 0xbf),
            0xed => Text::Utf8(2, 0x80, 0x9f),
            0xe1..=0xef => {
                self.is_lined |= byte == 0xe2;
                Text::Utf8(2, 0x80, 0xbf)
            }
            0xf0 => Text::Utf8(3, 0x90, 0xbf),
            0xf1..=0xf3 => Text::Utf8(3, 0x80, 0xbf),
            0xf4 => Text::Utf8(3, 0x80, 0x8f),
            0x80.. => return Err(Fault::NotUtf8),
            _ => return Err(Fault::Syntax),
        };
        Ok(State::Text(text, role))
    }
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

/// What becomes of a byte.
enum Step {
    Taken,
    /// It is behind the value, and is looked at again.
    Again,
}

impl Text {
    /// The next byte, unless it is of a plain text.
    fn next(self, byte: u8) -> Result<Self, Fault> {
        Ok(match (self, byte) {
            (Self::Plain, _) | (Self::Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Self::Plain,
            (Self::Escape, b'u') => Self::Hex(4, 0, false),
            (Self::Escape, _) => return Err(Fault::Syntax),
            (Self::Hex(left, code, is_second), _) => {
                let digit = char::from(byte).to_digit(16).ok_or(Fault::Syntax)?;
                let code = code << 4 | u16::try_from(digit).unwrap_or(0);
                match (left, code, is_second) {
                    (2.., ..) => Self::Hex(left - 1, code, is_second),
                    (_, 0xdc00..=0xdfff, true) => Self::Plain,
                    (_, 0xd800..=0xdbff, false) => Self::Half(0),
                    (_, 0xdc00..=0xdfff, false) | (.., true) => return Err(Fault::Surrogate),
                    (.., false) => Self::Plain,
                }
            }
            (Self::Half(0), b'\\') => Self::Half(1),
            (Self::Half(1), b'u') => Self::Hex(4, 0, true),
            (Self::Half(_), _) => return Err(Fault::Surrogate),
            (Self::Utf8(left, low, high), _) => match (low..=high).contains(&byte) {
                true if left == 1 => Self::Plain,
                true => Self::Utf8(left - 1, 0x80, 0xbf),
                false => return Err(Fault::NotUtf8),
            },
        })
    }
}

impl Number {
    /// The next byte. `None` if it is behind the number.
    fn next(self, byte: u8) -> Result<Option<Self>, Fault> {
        Ok(Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Self::Integer,
            (Self::Zero | Self::Integer, b'.') => Self::Dot,
            (Self::Dot | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::Sign,
            (Self::Exponent | Self::Sign | Self::Power, b'0'..=b'9') => Self::Power,
            (Self::Zero, b'0'..=b'9') | (Self::Minus | Self::Dot | Self::Exponent | Self::Sign, _) => {
                return Err(Fault::Syntax);
            }
            (Self::Zero | Self::Integer | Self::Fraction | Self::Power, _) => return Ok(None),
        }))
    }
}

impl Literal {
    /// What follows its first letter.
    fn rest(self) -> &'static [u8] {
        match self {
            Self::True => b"rue",
            Self::False => b"alse",
            Self::Null => b"ull",
        }
    }
}

impl Fault {
    /// What is wrong, in words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Syntax => "this is not JSON",
            Self::NotUtf8 => "a text is not UTF-8",
            Self::Surrogate => "half of a surrogate pair stands alone",
            Self::TooDeep => "values are nested too deep",
        }
    }
}

/// The number of bytes at the beginning that stand for themselves in a text. Sixteen at a time, which the compiler makes one step of.
#[inline]
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks::<16>();
    let is_special = |chunk: &[u8; 16]| chunk.iter().fold(false, |found, byte| found | !is_plain(*byte));
    let plain = 16 * chunks.iter().take_while(|chunk| !is_special(chunk)).count();
    let rest = bytes.get(plain..).unwrap_or_default();
    plain + rest.iter().position(|byte| !is_plain(*byte)).unwrap_or(rest.len())
}

/// What may stand between tokens. A form feed, which ASCII counts among its blanks, may not.
#[inline]
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// A byte of a text that stands for itself.
#[inline]
fn is_plain(byte: u8) -> bool {
    (0x20..0x80).contains(&byte) & (byte != b'"') & (byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &[u8]) -> Scan {
        Scanner::new().scan(text)
    }

    #[test]
    fn the_end_of_a_value_is_found_and_what_follows_is_left_alone() {
        for (text, end) in [
            (&b"{}x"[..], 2),
            (b" [ ] [", 4),
            (br#"{"a":[1,-0.5e+7,{"b":"\"}\\"}],"c":null}{"#, 40),
            (br#""\ud83d\ude00", "#, 14),
            ("\"h\u{e4}\u{2028}\u{1f600}\"".as_bytes(), 12),
            (b"true,", 4),
            (b"12 ", 2),
        ] {
            assert_eq!(scan(text), Scan::End(end), "{}", text.escape_ascii());
            for cut in 0..end {
                let mut scanner = Scanner::new();
                assert_eq!(scanner.scan(&text[..cut]), Scan::More);
                assert_eq!(scanner.scan(&text[cut..]), Scan::End(end - cut), "{} cut at {cut}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn the_byte_that_breaks_the_rules_is_named() {
        for (text, at, fault) in [
            (&b"{,"[..], 1, Fault::Syntax),
            (b"[1,]", 3, Fault::Syntax),
            (b"[1}", 2, Fault::Syntax),
            (b"{\"a\" 1}", 5, Fault::Syntax),
            (b"[01]", 2, Fault::Syntax),
            (b"[1.]", 3, Fault::Syntax),
            (b"[tru ]", 4, Fault::Syntax),
            (b"\"a\nb\"", 2, Fault::Syntax),
            (b"\"\\x\"", 2, Fault::Syntax),
            (b"\"\xff\"", 1, Fault::NotUtf8),
            (b"\"\xc0\x80\"", 1, Fault::NotUtf8),
            (b"\"\xed\xa0\x80\"", 2, Fault::NotUtf8),
            (br#""\ud800x""#, 7, Fault::Surrogate),
            (br#""\ud800\n""#, 8, Fault::Surrogate),
            (br#""\ud800\ud800""#, 12, Fault::Surrogate),
            (br#""\udc00""#, 6, Fault::Surrogate),
        ] {
            assert_eq!(scan(text), Scan::Malformed(at, fault), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_not_followed() {
        let depth = usize::from(Scanner::DEPTH);
        let deep = [vec![b'['; depth], vec![b']'; depth]].concat();
        assert_eq!(scan(&deep), Scan::End(2 * depth));
        assert_eq!(scan(&vec![b'['; 1 << 20]), Scan::Malformed(depth, Fault::TooDeep));
        assert_eq!(scan(&b"{\"a\":".repeat(depth + 1)), Scan::Malformed(5 * depth, Fault::TooDeep));
    }

    #[test]
    fn a_number_alone_is_whole_when_nothing_follows() {
        for (text, is_whole) in [(&b"12"[..], true), (b"1e5", true), (b"-", false), (b"1.", false), (b"1e+", false)] {
            let mut scanner = Scanner::new();
            assert_eq!(scanner.scan(text), Scan::More);
            assert_eq!(scanner.may_end(), is_whole, "{}", text.escape_ascii());
        }
    }
}
