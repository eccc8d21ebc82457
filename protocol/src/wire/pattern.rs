//! Patterns over dotted names, written so that a shell needs no quotes: `clock.` is everything below `clock`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::wire::{
    limits::MAX_NAME,
    name::{InvalidName, check_dotted},
};

/// A dotted name in which `*` stands for one label, a last `**` for any tail of at least one label, and a trailing dot for
/// everything below the name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`InvalidName`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.len() > MAX_NAME {
            return Err(InvalidName::TooLong);
        }
        let labels = text.strip_suffix('.').unwrap_or(text);
        let tail = if text.ends_with('.') { None } else { labels.rsplit('.').next() };
        for (index, label) in labels.split('.').enumerate() {
            let is_last = tail.is_some() && index == labels.matches('.').count();
            match label {
                "*" => {}
                "**" if is_last => {}
                "" => return Err(InvalidName::EmptyLabel),
                label => check_dotted(label.as_bytes())?,
            }
        }
        Ok(Self(text.into()))
    }

    /// Whether the pattern stands for `name`.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (labels, open) = match self.0.strip_suffix('.') {
            Some(below) => (below, true),
            None => (&*self.0, false),
        };
        let mut wanted = labels.split('.').peekable();
        let mut found = name.split('.');
        while let Some(want) = wanted.next() {
            let Some(label) = found.next() else { return false };
            match want {
                "**" if wanted.peek().is_none() => return true,
                "*" => {}
                literal if literal == label => {}
                _ => return false,
            }
        }
        found.next().is_some() == open
    }

    /// What every name that it stands for starts with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.0.split_once('*').map_or(&self.0, |(prefix, _)| prefix)
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Pattern {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Pattern {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::parse(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(name)
    }

    #[test]
    fn a_star_is_one_label() {
        assert!(matches("a.*.c", "a.b.c"));
        assert!(!matches("a.*", "a.b.c"));
        assert!(!matches("a.*", "a"));
    }

    #[test]
    fn two_stars_and_a_trailing_dot_are_everything_below() {
        assert!(matches("a.**", "a.b.c"));
        assert!(matches("**", "a.b.c"));
        assert!(matches("a.", "a.b"));
        assert!(matches("a.", "a.b.c"));
        assert!(!matches("a.", "a"));
        assert!(!matches("a.", "ab.c"));
        assert!(!matches("a.**", "a"));
    }

    #[test]
    fn a_plain_name_matches_itself_alone() {
        assert!(matches("a.b", "a.b"));
        assert!(!matches("a.b", "a.b.c"));
    }

    #[test]
    fn the_prefix_is_what_comes_before_the_first_star() {
        let prefix = |pattern: &str| Pattern::parse(pattern).unwrap().prefix().to_owned();
        assert_eq!(["a.b", "a.b.", "a.*.c", "a.**", "*.c"].map(prefix), ["a.b", "a.b.", "a.", "a.", ""]);
    }

    #[test]
    fn bad_patterns_are_refused() {
        assert_eq!(Pattern::parse(""), Err(InvalidName::Empty));
        assert_eq!(Pattern::parse("."), Err(InvalidName::EmptyLabel));
        assert_eq!(Pattern::parse("a..b"), Err(InvalidName::EmptyLabel));
        assert_eq!(Pattern::parse("**.a"), Err(InvalidName::BadByte(b'*')));
        assert_eq!(Pattern::parse("**."), Err(InvalidName::BadByte(b'*')));
        assert_eq!(Pattern::parse("a*"), Err(InvalidName::BadByte(b'*')));
    }
}
