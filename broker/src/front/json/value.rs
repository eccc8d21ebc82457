//! Reading a value that the scanner has passed: its members, its elements, its texts. Nothing else is looked at.

use std::{borrow::Cow, ops::Range};

use super::scan::{is_blank, plain_len};

/// The members of an object, or the elements of an array.
#[derive(Clone, Debug)]
pub(super) struct Parts<'a> {
    value: &'a [u8],
    at: usize,
}

impl<'a> Parts<'a> {
    /// Those of an object or an array, from its first byte on.
    pub(super) fn of(value: &'a [u8]) -> Self {
        Self { value, at: 1 }
    }

    /// Those behind a place where [`Parts::place`] was.
    pub(super) fn from(value: &'a [u8], at: usize) -> Self {
        Self { value, at }
    }

    /// Where it is.
    pub(super) fn place(&self) -> usize {
        self.at
    }

    /// Where the next element lies.
    pub(super) fn element(&mut self) -> Option<Range<usize>> {
        let start = self.start()?;
        self.at = end_of(self.value, start);
        Some(start..self.at)
    }

    /// The next member: its name, and where its value lies.
    pub(super) fn member(&mut self) -> Option<(Cow<'a, str>, Range<usize>)> {
        let key = self.element()?;
        let colon = self.blanks(self.at);
        let start = self.blanks(colon + 1);
        self.at = end_of(self.value, start);
        Some((text(self.value.get(key)?)?, start..self.at))
    }

    /// The first byte of the next part.
    fn start(&mut self) -> Option<usize> {
        let mut at = self.blanks(self.at);
        if self.value.get(at) == Some(&b',') {
            at = self.blanks(at + 1);
        }
        (!matches!(self.value.get(at)?, b']' | b'}')).then_some(at)
    }

    fn blanks(&self, at: usize) -> usize {
        let rest = self.value.get(at..).unwrap_or_default();
        at + rest.iter().take_while(|byte| is_blank(**byte)).count()
    }
}

/// The content of a text with its quotes; `None` if the value is something else.
pub(super) fn text(value: &[u8]) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let inner = str::from_utf8(inner).ok()?;
    if inner.contains('\\') { Some(Cow::Owned(unescape(inner)?)) } else { Some(Cow::Borrowed(inner)) }
}

/// A whole number that isn't negative. One that is too large counts as the largest.
pub(super) fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(str::from_utf8(value).ok()?.parse().unwrap_or(u64::MAX))
}

/// The end of the value that starts here.
fn end_of(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_u32);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_text(bytes, at),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b',' | b':' => at += 1,
            byte if is_blank(*byte) => at += 1,
            _ => at = end_of_scalar(bytes, at),
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_text(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    loop {
        at += plain_len(bytes.get(at..).unwrap_or_default());
        match bytes.get(at) {
            None => return bytes.len(),
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2, // whatever is escaped
            Some(_) => at += 1,
        }
    }
}

fn end_of_scalar(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    let is_of_it = |byte: &u8| !matches!(byte, b',' | b':' | b']' | b'}') && !is_blank(*byte);
    start + rest.iter().take_while(|byte| is_of_it(byte)).count().max(1)
}

fn unescape(text: &str) -> Option<String> {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        let mut chars = escape.chars();
        out.push(match chars.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => code(&mut chars)?,
            other => other,
        });
        rest = chars.as_str();
    }
    out.push_str(rest);
    Some(out)
}

/// The character of `\u`, whose second half may follow.
fn code(chars: &mut std::str::Chars<'_>) -> Option<char> {
    let first = hex(chars)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first);
    }
    chars.next().filter(|c| *c == '\\')?;
    chars.next().filter(|c| *c == 'u')?;
    let second = hex(chars)?.checked_sub(0xdc00)?;
    char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + second)
}

fn hex(chars: &mut std::str::Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0, |code, _| Some(code << 4 | chars.next()?.to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_elements_are_found() {
        let object = br#"{ "a" : 1 , "b":[1,"]",{}] ,"\u0063" :"x\"y"}"#;
        let mut parts = Parts::of(object);
        let members: Vec<_> = std::iter::from_fn(|| parts.member())
            .map(|(name, at)| (name.into_owned(), str::from_utf8(&object[at]).unwrap().to_owned()))
            .collect();
        let expected = [("a", "1"), ("b", r#"[1,"]",{}]"#), ("c", r#""x\"y""#)];
        assert_eq!(members, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));

        let array = b"[ -1.5e3,[ [] ] , null]";
        let mut parts = Parts::of(array);
        let elements: Vec<_> = std::iter::from_fn(|| parts.element()).map(|at| &array[at]).collect();
        assert_eq!(elements, [&b"-1.5e3"[..], b"[ [] ]", b"null"]);
        assert_eq!(Parts::of(b"[ ]").element(), None);
        assert_eq!(Parts::of(b"{}").member(), None);
    }

    #[test]
    fn texts_are_read() {
        assert_eq!(text(br#""a\n\u00e4\ud83d\ude00\/""#).as_deref(), Some("a\n\u{e4}\u{1f600}/"));
        assert_eq!(text(b"12"), None);
        assert_eq!((number(b"12"), number(b"-1"), number(b"1.5")), (Some(12), None, None));
        assert_eq!(number(b"99999999999999999999999"), Some(u64::MAX));
    }
}
