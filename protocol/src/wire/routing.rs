//! The routing section: a few fields between header and body, each `tag u8, length u16, value`, tags ascending.
//!
//! The section is the wire's extension point. A receiver skips unknown tags below 128 and refuses a frame with an unknown tag
//! from 128 up, so a new field comes without a new version (docs/protocol.md, "Routing section").

use bytes::{BufMut, Bytes, BytesMut};

use crate::wire::{
    fingerprint::Fingerprint,
    limits::{MAX_NAME, MAX_ROUTING, MAX_TEXT},
    name::{InvalidName, PeerNumber, check_dotted, check_method},
};

/// Tag of a routing field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldTag(pub u8);

impl FieldTag {
    /// The caller's identity, stamped by the broker. First, so that the broker can put it before a section it does not rewrite.
    pub const CALLER: Self = Self(1);
    /// Service name, or `@N` for one peer.
    pub const SERVICE: Self = Self(2);
    /// Method; absent means the default method.
    pub const METHOD: Self = Self(3);
    /// W3C trace context (`traceparent`), passed on untouched.
    pub const TRACE: Self = Self(4);
    /// The sentence of an error or goodbye.
    pub const TEXT: Self = Self(5);
    /// Feature bits, u64.
    pub const FEATURES: Self = Self(6);
    /// Lowest and highest version spoken, two u8.
    pub const VERSIONS: Self = Self(7);
    /// Program name and version, for people.
    pub const AGENT: Self = Self(8);
    /// The peer's number, u64.
    pub const PEER: Self = Self(9);
    /// Largest body that the broker takes, u32.
    pub const MAX_BODY: Self = Self(10);
    /// Deadline of a call that names none, in milliseconds, u32.
    pub const CALL_DEFAULT: Self = Self(11);
    /// Longest deadline of a call, in milliseconds, u32.
    pub const CALL_MAX: Self = Self(12);
    /// The topic of an event.
    pub const TOPIC: Self = Self(13);
    /// The number of an event among those of its publisher, u64.
    pub const SEQUENCE: Self = Self(14);
    /// A count, u64: of events that were lost, of items that were delivered, of bytes that may be sent.
    pub const COUNT: Self = Self(15);
    /// The fingerprint of a method's shapes, u64: on calls in bincode.
    pub const FINGERPRINT: Self = Self(16);

    const FIRST_MUST_UNDERSTAND: u8 = 128;
}

/// The method that every service may answer with its description. No service can have a method of that name for itself.
pub const DESCRIBE: &str = "?";

/// Why bytes aren't a valid routing section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RoutingError {
    /// A field reaches past the end of the section.
    #[error("the field at byte {0} reaches past the end of the routing section")]
    Truncated(usize),
    /// The section is longer than [`MAX_ROUTING`].
    #[error("a routing section has at most {MAX_ROUTING} bytes, found {0}")]
    TooLong(usize),
    /// Tags must ascend, so none can be given twice.
    #[error("the field with tag {0} is repeated or out of order")]
    Order(u8),
    /// A must-understand field that this version doesn't know.
    #[error("unknown field with tag {0}, which must be understood")]
    NotUnderstood(u8),
    /// The service isn't a valid service name.
    #[error("bad service name: {0}")]
    Service(InvalidName),
    /// The method isn't a valid method name.
    #[error("bad method name: {0}")]
    Method(InvalidName),
    /// The topic isn't a valid topic.
    #[error("bad topic: {0}")]
    Topic(InvalidName),
    /// A text field that is too long or isn't UTF-8.
    #[error("the text in the field with tag {0} is too long or not UTF-8")]
    Text(u8),
    /// A field of fixed size has another one.
    #[error("the field with tag {0} has the wrong size")]
    Size(u8),
    /// A field that only the broker may write.
    #[error("the field with tag {0} is written by the broker alone")]
    Reserved(u8),
    /// A field that this kind of frame requires is missing.
    #[error("the field with tag {0} is missing")]
    Missing(u8),
}

impl RoutingError {
    /// Whether the section is well formed and only names what can't exist: a call of such a name is refused, its sender lives on.
    #[must_use]
    pub fn is_bad_name(&self) -> bool {
        matches!(self, Self::Service(_) | Self::Method(_) | Self::Topic(_))
    }
}

/// A checked routing section: an encoded text and where its hot fields stand. Cloning shares the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Routing {
    raw: Bytes,
    service: Span,
    method: Span,
}

/// Where a value stands in the section; `MAX_ROUTING` fits u16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Span {
    start: u16,
    len: u16,
}

impl Routing {
    /// Checks a section as it came from the wire.
    ///
    /// # Errors
    /// [`RoutingError`] names the first field that is wrong; a bad name only if nothing else is.
    pub fn parse(raw: Bytes) -> Result<Self, RoutingError> {
        if raw.len() > usize::from(MAX_ROUTING) {
            return Err(RoutingError::TooLong(raw.len()));
        }
        let (mut service, mut method, mut misnamed) = (Span::default(), Span::default(), None);
        for field in Fields::new(&raw) {
            let (tag, span) = field?;
            let value = span.of(&raw);
            match tag {
                FieldTag::SERVICE => {
                    misnamed = check_service(value).map_err(RoutingError::Service).err();
                    service = span;
                }
                FieldTag::METHOD if value == DESCRIBE.as_bytes() => method = span,
                FieldTag::METHOD => {
                    misnamed = misnamed.or(check_method(value).map_err(RoutingError::Method).err());
                    method = span;
                }
                FieldTag::TOPIC => misnamed = misnamed.or(check_dotted(value).map_err(RoutingError::Topic).err()),
                _ => check_value(tag, value)?,
            }
        }
        misnamed.map_or(Ok(Self { raw, service, method }), Err)
    }

    /// A section with service and method.
    #[must_use]
    pub fn to(service: &str, method: &str) -> RoutingBuilder {
        let mut builder = RoutingBuilder::default();
        builder.put(FieldTag::SERVICE, service.as_bytes());
        if !method.is_empty() {
            builder.put(FieldTag::METHOD, method.as_bytes());
        }
        builder
    }

    /// The same section with another service and method: what the broker does once it has resolved a dotted target.
    #[must_use]
    pub fn retarget(&self, service: &str, method: &str) -> Self {
        let mut builder = Self::to(service, method);
        for (tag, span) in Fields::new(&self.raw).flatten() {
            if tag > FieldTag::METHOD {
                builder.put(tag, span.of(&self.raw));
            }
        }
        builder.build()
    }

    /// Takes the caller's stamp off the front of the section: what is left is what the caller sent.
    pub(crate) fn split_caller(&mut self) -> Option<Bytes> {
        let (tag, span) = Fields::new(&self.raw).next()?.ok()?;
        if tag != FieldTag::CALLER {
            return None;
        }
        let end = span.start + span.len;
        self.service.start = self.service.start.saturating_sub(end);
        self.method.start = self.method.start.saturating_sub(end);
        Some(self.raw.split_to(usize::from(end)))
    }

    /// The service's bytes: dotted labels or `@N`, empty if the section names none.
    #[must_use]
    pub fn service(&self) -> &[u8] {
        self.service.of(&self.raw)
    }

    /// The method's bytes, empty for the default method.
    #[must_use]
    pub fn method(&self) -> &[u8] {
        self.method.of(&self.raw)
    }

    /// The value of a field, if it is there.
    #[must_use]
    pub fn field(&self, tag: FieldTag) -> Option<&[u8]> {
        Fields::new(&self.raw).flatten().find(|(found, _)| *found == tag).map(|(_, span)| span.of(&self.raw))
    }

    /// The value of a text field, which was checked when the section was parsed.
    #[must_use]
    pub fn text(&self, tag: FieldTag) -> Option<&str> {
        str::from_utf8(self.field(tag)?).ok()
    }

    /// The value of a field of `N` bytes.
    pub(crate) fn array<const N: usize>(&self, tag: FieldTag) -> Result<Option<[u8; N]>, RoutingError> {
        match self.field(tag) {
            None => Ok(None),
            Some(value) => value.try_into().map(Some).map_err(|_| RoutingError::Size(tag.0)),
        }
    }

    /// The value of a field of eight bytes.
    #[must_use]
    pub fn number(&self, tag: FieldTag) -> Option<u64> {
        self.field(tag)?.try_into().ok().map(u64::from_le_bytes)
    }

    /// The fingerprint of the caller's shapes.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.number(FieldTag::FINGERPRINT).map(Fingerprint)
    }

    /// The section of an event as the broker delivers it: with the publisher's stamp, which is an encoded field, and its number for
    /// the event.
    #[must_use]
    pub fn published(&self, stamp: &[u8], sequence: Option<u64>) -> Self {
        let mut builder = RoutingBuilder { raw: BytesMut::with_capacity(stamp.len() + self.raw.len() + 16) };
        builder.raw.put_slice(stamp);
        let fields = || Fields::new(&self.raw).flatten();
        let mut put = |tag, value: &[u8]| _ = builder.put(tag, value);
        let others = |tag: FieldTag| tag > FieldTag::METHOD && tag != FieldTag::SEQUENCE;
        fields()
            .filter(|(tag, _)| others(*tag) && *tag < FieldTag::SEQUENCE)
            .for_each(|(tag, span)| put(tag, span.of(&self.raw)));
        if let Some(sequence) = sequence {
            put(FieldTag::SEQUENCE, &sequence.to_le_bytes());
        }
        fields().filter(|(tag, _)| *tag > FieldTag::SEQUENCE).for_each(|(tag, span)| put(tag, span.of(&self.raw)));
        builder.build()
    }

    /// The section of an event on a topic.
    #[must_use]
    pub fn on(topic: &str) -> RoutingBuilder {
        let mut builder = RoutingBuilder::default();
        builder.put(FieldTag::TOPIC, topic.as_bytes());
        builder
    }

    /// The encoded section.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The same section in memory of its own, so that it pins no shared buffer.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { raw: Bytes::copy_from_slice(&self.raw), ..*self }
    }
}

/// Builds a routing section; fields must be put in ascending order of their tags.
#[derive(Debug, Default)]
pub struct RoutingBuilder {
    raw: BytesMut,
}

impl RoutingBuilder {
    /// Appends a field, or leaves it out if the section has no room for it, which only a text can run into.
    pub fn put(&mut self, tag: FieldTag, value: &[u8]) -> &mut Self {
        let room = usize::from(MAX_ROUTING).saturating_sub(self.raw.len() + Fields::PREFIX);
        let Ok(len) = u16::try_from(value.len()) else { return self };
        if value.len() <= room {
            self.raw.put_u8(tag.0);
            self.raw.put_u16_le(len);
            self.raw.put_slice(value);
        }
        self
    }

    /// Appends a text, cut at a character boundary to `limit` bytes.
    pub fn put_text(&mut self, tag: FieldTag, text: &str, limit: usize) -> &mut Self {
        self.put(tag, &text.as_bytes()[..text.floor_char_boundary(limit)])
    }

    /// The finished section.
    ///
    /// # Panics
    /// Only on a programming error: names are taken from parsed types and fields put in order.
    #[must_use]
    pub fn build(&mut self) -> Routing {
        Routing::parse(self.raw.split().freeze()).expect("fields were put in order, from parsed names")
    }
}

impl Span {
    fn of(self, raw: &[u8]) -> &[u8] {
        raw.get(usize::from(self.start)..usize::from(self.start) + usize::from(self.len)).unwrap_or_default()
    }
}

/// Walks the fields and checks their form.
struct Fields<'a> {
    raw: &'a [u8],
    at: usize,
    last: u8,
}

impl<'a> Fields<'a> {
    /// Bytes of tag and length.
    const PREFIX: usize = 3;

    fn new(raw: &'a [u8]) -> Self {
        Self { raw, at: 0, last: 0 }
    }
}

impl Iterator for Fields<'_> {
    type Item = Result<(FieldTag, Span), RoutingError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.raw.get(self.at..).filter(|rest| !rest.is_empty())?;
        let truncated = Some(Err(RoutingError::Truncated(self.at)));
        let [tag, low, high, value @ ..] = rest else {
            self.at = self.raw.len();
            return truncated;
        };
        let len = u16::from_le_bytes([*low, *high]);
        let start = u16::try_from(self.at + Self::PREFIX);
        let (Ok(start), true) = (start, value.len() >= usize::from(len)) else {
            self.at = self.raw.len();
            return truncated;
        };
        if *tag <= self.last {
            self.at = self.raw.len();
            return Some(Err(RoutingError::Order(*tag)));
        }
        self.last = *tag;
        self.at += Self::PREFIX + usize::from(len);
        Some(Ok((FieldTag(*tag), Span { start, len })))
    }
}

/// The rules of the tags other than those of names. A receiver may rely on them in any kind of frame, used there or not.
fn check_value(tag: FieldTag, value: &[u8]) -> Result<(), RoutingError> {
    let size = |wanted: usize| if value.len() == wanted { Ok(()) } else { Err(RoutingError::Size(tag.0)) };
    let text = |limit: usize| {
        if value.len() <= limit && str::from_utf8(value).is_ok() { Ok(()) } else { Err(RoutingError::Text(tag.0)) }
    };
    match tag {
        FieldTag::TEXT => text(MAX_TEXT),
        FieldTag::AGENT => text(MAX_NAME),
        FieldTag::VERSIONS => size(2),
        FieldTag::MAX_BODY | FieldTag::CALL_DEFAULT | FieldTag::CALL_MAX => size(4),
        FieldTag::FEATURES | FieldTag::PEER | FieldTag::SEQUENCE | FieldTag::COUNT | FieldTag::FINGERPRINT => size(8),
        FieldTag(tag) if tag >= FieldTag::FIRST_MUST_UNDERSTAND => Err(RoutingError::NotUnderstood(tag)),
        _ => Ok(()),
    }
}

/// A service field is a dotted name or the address of one peer.
fn check_service(value: &[u8]) -> Result<(), InvalidName> {
    if value.first() == Some(&b'@') {
        return PeerNumber::parse_address(value).map(|_| ()).ok_or(InvalidName::BadPeer);
    }
    check_dotted(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(fields: &[(u8, &[u8])]) -> Bytes {
        let mut raw = BytesMut::new();
        for (tag, value) in fields {
            raw.put_u8(*tag);
            raw.put_u16_le(u16::try_from(value.len()).unwrap());
            raw.put_slice(value);
        }
        raw.freeze()
    }

    #[test]
    fn service_and_method_are_found() {
        let routing = Routing::to("org.clock", "now").put(FieldTag::TRACE, b"00-ab").build();
        assert_eq!(routing.service(), b"org.clock");
        assert_eq!(routing.method(), b"now");
        assert_eq!(routing.field(FieldTag::TRACE), Some(&b"00-ab"[..]));
        assert_eq!(routing.field(FieldTag::TEXT), None);
    }

    #[test]
    fn retarget_keeps_the_other_fields() {
        let routing = Routing::to("a.b", "").put(FieldTag::TRACE, b"t").build().retarget("a", "b");
        assert_eq!((routing.service(), routing.method()), (&b"a"[..], &b"b"[..]));
        assert_eq!(routing.field(FieldTag::TRACE), Some(&b"t"[..]));
    }

    #[test]
    fn the_stamp_comes_off_the_front() {
        let raw = section(&[(1, b"stamp"), (2, b"clock"), (3, b"now")]);
        let mut routing = Routing::parse(raw).unwrap();
        assert_eq!(routing.split_caller().as_deref(), Some(&section(&[(1, b"stamp")])[..]));
        assert_eq!((routing.service(), routing.method()), (&b"clock"[..], &b"now"[..]));
        assert_eq!(routing.split_caller(), None);
    }

    #[test]
    fn every_truncation_is_refused() {
        let raw = section(&[(2, b"clock"), (3, b"now")]);
        for cut in (1..raw.len()).filter(|cut| *cut != 8) {
            assert!(matches!(Routing::parse(raw.slice(..cut)), Err(RoutingError::Truncated(_))), "cut at {cut}");
        }
    }

    #[test]
    fn repeated_and_unordered_fields_are_refused() {
        assert_eq!(Routing::parse(section(&[(2, b"a"), (2, b"b")])), Err(RoutingError::Order(2)));
        assert_eq!(Routing::parse(section(&[(3, b"a"), (2, b"b")])), Err(RoutingError::Order(2)));
        assert_eq!(Routing::parse(section(&[(0, b"")])), Err(RoutingError::Order(0)));
    }

    #[test]
    fn unknown_fields_are_skipped_unless_they_must_be_understood() {
        assert!(Routing::parse(section(&[(2, b"a"), (127, b"?")])).is_ok());
        assert_eq!(Routing::parse(section(&[(2, b"a"), (128, b"?")])), Err(RoutingError::NotUnderstood(128)));
    }

    #[test]
    fn a_section_over_the_limit_is_refused() {
        let of_len = |len: usize| section(&[(1, &vec![0; len - 3])]);
        assert!(Routing::parse(of_len(4_096)).is_ok());
        assert_eq!(Routing::parse(of_len(4_097)), Err(RoutingError::TooLong(4_097)));
        assert_eq!(Routing::parse(of_len(65_538)), Err(RoutingError::TooLong(65_538)));
    }

    #[test]
    fn bad_names_are_refused() {
        assert!(matches!(Routing::parse(section(&[(2, b"A")])), Err(RoutingError::Service(_))));
        assert!(matches!(Routing::parse(section(&[(2, b"@0")])), Err(RoutingError::Service(_))));
        assert!(matches!(Routing::parse(section(&[(2, b"a"), (3, b"b.c")])), Err(RoutingError::Method(_))));
        assert_eq!(Routing::parse(section(&[(5, b"\xff")])), Err(RoutingError::Text(5)));
    }

    #[test]
    fn a_bad_name_is_told_only_if_nothing_else_is_wrong() {
        let bad = |rest: &[(u8, &[u8])]| {
            Routing::parse(section(&[&[(2, &b"A"[..]), (3, &b"b.c"[..])], rest].concat())).unwrap_err()
        };
        assert!(matches!(bad(&[(4, b"t")]), RoutingError::Service(_)) && bad(&[]).is_bad_name());
        assert_eq!(bad(&[(128, b"")]), RoutingError::NotUnderstood(128));
        assert_eq!(bad(&[(5, b"\xff")]), RoutingError::Text(5));
        assert!(!RoutingError::Text(5).is_bad_name());
    }

    #[test]
    fn a_field_of_fixed_size_has_that_size_in_every_frame() {
        for (tag, size) in [(6, 8), (7, 2), (9, 8), (10, 4), (11, 4), (12, 4)] {
            let of = |len: usize| Routing::parse(section(&[(2, b"a"), (tag, &vec![0; len])]));
            assert!(of(size).is_ok(), "tag {tag}");
            assert_eq!([of(size - 1), of(size + 1)], [Err(RoutingError::Size(tag)), Err(RoutingError::Size(tag))]);
        }
    }

    #[test]
    fn a_text_is_cut_at_a_character() {
        let routing = RoutingBuilder::default().put_text(FieldTag::TEXT, "aé", 2).build();
        assert_eq!(routing.text(FieldTag::TEXT), Some("a"));
    }
}
