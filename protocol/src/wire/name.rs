//! Names and targets. Parse, don't validate: a [`ServiceName`] or [`MethodName`] is always well formed.

use std::{
    borrow::Borrow,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::wire::limits::MAX_NAME;

/// Why a text isn't a valid name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// Nothing was given.
    #[error("a name must not be empty")]
    Empty,
    /// The name is longer than [`MAX_NAME`] bytes.
    #[error("a name has at most {MAX_NAME} bytes")]
    TooLong,
    /// Two dots in a row, or one at the start or the end.
    #[error("a name must not have an empty label between its dots")]
    EmptyLabel,
    /// A byte outside `[a-z0-9_-]`.
    #[error("a name is made of a-z, 0-9, '_', '-' and dots (found byte {0:#04x})")]
    BadByte(u8),
    /// A dot, in a method.
    #[error("a method is a single label, without a dot")]
    DottedMethod,
    /// `@` not followed by a peer's number.
    #[error("a peer is addressed as '@' and its number, for example @17")]
    BadPeer,
}

/// Number of a peer, as `ipcctl peers` prints it: they start at 1 and are never reused while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PeerNumber(pub u64);

impl PeerNumber {
    /// Reads `@N`, the form in which a call is addressed to one peer.
    #[must_use]
    pub fn parse_address(bytes: &[u8]) -> Option<Self> {
        let [b'@', first @ b'1'..=b'9', rest @ ..] = bytes else { return None };
        let mut number = u64::from(first - b'0');
        for digit in rest {
            let b'0'..=b'9' = digit else { return None };
            number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        }
        Some(Self(number))
    }
}

impl fmt::Display for PeerNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

/// Name of a service: dotted labels of `[a-z0-9_-]`, at most 255 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(Box<str>);

impl ServiceName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`InvalidName`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        check_dotted(text.as_bytes())?;
        Ok(Self(text.into()))
    }

    /// The name as text, never empty.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name is the broker's own: `ipc` or below it.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        &*self.0 == "ipc" || self.0.starts_with("ipc.")
    }
}

/// Lets a table of names be searched with the bytes of a frame, which were checked when the frame was decoded. Names are equal,
/// ordered and hashed as their bytes are.
impl Borrow<[u8]> for ServiceName {
    fn borrow(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// As the bytes hash: str would end in a byte that `[u8]` doesn't have.
impl Hash for ServiceName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_bytes().hash(state);
    }
}

/// What an event is about: dotted labels of `[a-z0-9_-]`, at most 255 bytes. Those below `ipc.` are the broker's own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Topic(Box<str>);

impl Topic {
    /// Parses a topic.
    ///
    /// # Errors
    /// [`InvalidName`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        check_dotted(text.as_bytes())?;
        Ok(Self(text.into()))
    }

    /// The topic as text, never empty.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether only the broker publishes on it: `ipc` or below it.
    #[must_use]
    pub fn is_reserved(topic: &str) -> bool {
        topic == "ipc" || topic.starts_with("ipc.")
    }
}

/// Name of a method: one label of `[a-z0-9_-]`. The empty name is the default method.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MethodName(Box<str>);

impl MethodName {
    /// Parses a method; the empty text is the default method.
    ///
    /// # Errors
    /// [`InvalidName`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        check_method(text.as_bytes())?;
        Ok(Self(text.into()))
    }

    /// The name as text, empty for the default method.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a call goes, as a person writes it: `service.method`, `service`, `@17.method` or `@17`.
///
/// Which part of a dotted target is the method depends on what is registered, so only the broker can tell: a target travels
/// with an empty method and is resolved there (docs/protocol.md, "Targets").
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A dotted name, which the broker resolves.
    Name(ServiceName),
    /// One peer, and the method called on it.
    Peer(PeerNumber, MethodName),
}

impl Target {
    /// Parses a target.
    ///
    /// # Errors
    /// [`InvalidName`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if !text.starts_with('@') {
            return ServiceName::parse(text).map(Self::Name);
        }
        let (peer, method) = text.split_once('.').unwrap_or((text, ""));
        let peer = PeerNumber::parse_address(peer.as_bytes()).ok_or(InvalidName::BadPeer)?;
        if text.ends_with('.') {
            return Err(InvalidName::EmptyLabel);
        }
        Ok(Self::Peer(peer, MethodName::parse(method)?))
    }

    /// What goes into the service field of the routing section.
    #[must_use]
    pub fn service(&self) -> String {
        match self {
            Self::Name(name) => name.as_str().to_owned(),
            Self::Peer(peer, _) => peer.to_string(),
        }
    }

    /// What goes into the method field of the routing section.
    #[must_use]
    pub fn method(&self) -> &str {
        match self {
            Self::Name(_) => "",
            Self::Peer(_, method) => method.as_str(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Peer(peer, method) if method.as_str().is_empty() => write!(f, "{peer}"),
            Self::Peer(peer, method) => write!(f, "{peer}.{method}"),
        }
    }
}

impl FromStr for Target {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text)
    }
}

macro_rules! text_impls {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(&self.0) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Debug::fmt(&*self.0, f) }
        }
        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> { Self::parse(text) }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> { Self::parse(&text) }
        }
        impl From<$name> for String {
            fn from(name: $name) -> Self { name.0.into() }
        }
    )*};
}
text_impls!(ServiceName, MethodName, Topic);

/// Checks dotted labels.
pub(crate) fn check_dotted(bytes: &[u8]) -> Result<(), InvalidName> {
    if bytes.is_empty() {
        return Err(InvalidName::Empty);
    }
    check_labels(bytes, |last| if last == b'.' { Err(InvalidName::EmptyLabel) } else { Ok(()) })
}

/// Checks a method: one label, or nothing at all.
pub(crate) fn check_method(bytes: &[u8]) -> Result<(), InvalidName> {
    check_labels(bytes, |_| Err(InvalidName::DottedMethod))
}

/// Checks each byte; `dot` says whether a dot may follow the byte before it.
fn check_labels(bytes: &[u8], dot: impl Fn(u8) -> Result<(), InvalidName>) -> Result<(), InvalidName> {
    if bytes.len() > MAX_NAME {
        return Err(InvalidName::TooLong);
    }
    let mut last = b'.';
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => {}
            b'.' => dot(last)?,
            other => return Err(InvalidName::BadByte(other)),
        }
        last = byte;
    }
    if last == b'.' && !bytes.is_empty() { Err(InvalidName::EmptyLabel) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use super::*;

    #[test]
    fn names_are_dotted_labels() {
        assert!(ServiceName::parse("org.example.clock-2_b").is_ok());
        assert_eq!(ServiceName::parse(""), Err(InvalidName::Empty));
        assert_eq!(ServiceName::parse("a..b"), Err(InvalidName::EmptyLabel));
        assert_eq!(ServiceName::parse(".a"), Err(InvalidName::EmptyLabel));
        assert_eq!(ServiceName::parse("a."), Err(InvalidName::EmptyLabel));
        assert_eq!(ServiceName::parse("Clock"), Err(InvalidName::BadByte(b'C')));
        assert_eq!(ServiceName::parse("a*"), Err(InvalidName::BadByte(b'*')));
        assert!(ServiceName::parse(&"a".repeat(255)).is_ok());
        assert_eq!(ServiceName::parse(&"a".repeat(256)), Err(InvalidName::TooLong));
    }

    #[test]
    fn a_table_of_names_is_searched_with_bytes() {
        let names = ["a", "a.b", "calc"].map(|name| ServiceName::parse(name).unwrap());
        let hashed = HashSet::from(names.clone());
        let ordered = BTreeSet::from(names);
        assert!(hashed.contains(&b"calc"[..]) && ordered.contains(&b"calc"[..]));
        assert!(!hashed.contains(&b"calc."[..]) && !ordered.contains(&b"calc."[..]));
    }

    #[test]
    fn a_method_is_one_label_or_none() {
        assert!(MethodName::parse("").is_ok());
        assert!(MethodName::parse("add").is_ok());
        assert_eq!(MethodName::parse("a.b"), Err(InvalidName::DottedMethod));
    }

    #[test]
    fn a_target_may_name_one_peer() {
        assert_eq!(Target::parse("@17.now").unwrap().to_string(), "@17.now");
        assert_eq!(Target::parse("@17").unwrap().service(), "@17");
        assert_eq!(Target::parse("@017"), Err(InvalidName::BadPeer));
        assert_eq!(Target::parse("@"), Err(InvalidName::BadPeer));
        assert_eq!(Target::parse("@1."), Err(InvalidName::EmptyLabel));
        assert_eq!(Target::parse("@1.a.b"), Err(InvalidName::DottedMethod));
        assert_eq!(Target::parse("@99999999999999999999"), Err(InvalidName::BadPeer));
    }

    #[test]
    fn the_broker_keeps_its_own_names() {
        assert!(ServiceName::parse("ipc").unwrap().is_reserved());
        assert!(ServiceName::parse("ipc.x").unwrap().is_reserved());
        assert!(!ServiceName::parse("ipcx").unwrap().is_reserved());
    }
}
