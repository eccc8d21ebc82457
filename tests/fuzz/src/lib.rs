//! What must hold for all input. Each fuzz target is one of these functions, and `protocol/tests/corpus.rs` runs the committed corpora
//! through them on a stable toolchain.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    fmt::{Debug, Display},
    str::FromStr,
};

use bytes::Bytes;
use ipc_protocol::{
    Decoder, Encoding, FieldTag, Frame, Header, Identity, Incoming, Message, MethodName, Pattern, PeerNumber, Routing,
    ServiceName, Target, Topic, Violation, codec, control,
    limits::{HEADER_LEN, MAX_NAME, MAX_ROUTING},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

#[allow(dead_code, reason = "a part of it is for the command alone")]
#[path = "../../../cli/src/mcp/message.rs"]
mod message;

/// The largest body that the targets accept: small, so that short inputs reach both sides of the limit.
pub const MAX_BODY: u32 = 8_192;

/// The ends of reads make no difference: read in one piece, byte by byte or cut anywhere, a stream has the same frames and the same
/// violation. A decoded message survives encoding and decoding.
///
/// Input: four bytes of seed for the cuts, then the stream.
pub fn frame(data: &[u8]) {
    let Some((seed, stream)) = data.split_first_chunk::<4>() else { return };
    let glued = read(stream, &mut Cuts::none());
    assert_eq!(read(stream, &mut Cuts::each_byte()), glued);
    assert_eq!(read(stream, &mut Cuts::seeded(u32::from_le_bytes(*seed))), glued);

    let frames = glued.seen.into_iter().filter_map(|seen| match seen {
        Seen::Frame(frame) => Some(frame),
        Seen::TooLarge(_) => None,
    });
    frames.filter_map(|frame| Message::decode(frame).ok()).for_each(|message| {
        let again = read(&message.to_vec(), &mut Cuts::none());
        let [Seen::Frame(frame)] = &again.seen[..] else { panic!("{message:?} is not one frame but {again:?}") };
        assert_eq!(Message::decode(frame.clone()), Ok(message));
        assert_eq!(again.end, End::Clean);
    });
}

/// An accepted section is well formed, means the same when it is parsed again, and keeps what the broker does not rewrite. A text
/// accepted as a name, pattern or target is written as it was read.
pub fn routing(data: &[u8]) {
    if let Ok(section) = Routing::parse(Bytes::copy_from_slice(data)) {
        assert!(data.len() <= usize::from(MAX_ROUTING));
        assert_eq!(section.raw(), data);
        assert_eq!(section.detached(), section);
        check_target(&section);
        check_retarget(&section);
    }
    if let Ok((identity, peer)) = Identity::from_stamp(data) {
        let again = Identity::from_stamp(&identity.stamp(peer)).expect("a stamp is written as it is read");
        assert_eq!((again.0.uid, again.0.gid, again.0.pid, again.1), (identity.uid, identity.gid, identity.pid, peer));
        assert!(identity.groups.starts_with(&again.0.groups));
    }
    let Ok(text) = str::from_utf8(data) else { return };
    check_text::<ServiceName>(text);
    check_text::<MethodName>(text);
    check_text::<Target>(text);
    check_text::<Pattern>(text);
    if let (Ok(name), Ok(pattern)) = (ServiceName::parse(text), Pattern::parse(text)) {
        assert!(pattern.matches(name.as_str()), "a name is a pattern that matches itself");
    }
}

/// A text is a pattern exactly if each of its labels may stand where it does, and it stands for a topic exactly if its labels, one by
/// one, stand for those of the topic.
///
/// Input: lines. The first is the pattern, the others are topics.
pub fn pattern(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let text = lines.next().unwrap_or_default();
    let wanted = wants(text);
    let parsed = Pattern::parse(text);
    assert_eq!(parsed.is_ok(), wanted.is_some(), "{text:?} is {parsed:?}");
    let (Ok(pattern), Some(wanted)) = (parsed, wanted) else { return };
    assert_eq!(pattern.to_string(), text);
    for topic in lines {
        let labels: Vec<&str> = topic.split('.').collect();
        let is_topic = topic.len() <= MAX_NAME && labels.iter().all(|label| is_label(label));
        assert_eq!(Topic::parse(topic).is_ok(), is_topic, "{topic:?}");
        if is_topic {
            assert_eq!(pattern.matches(topic), stands_for(&wanted, &labels), "{text} for {topic}");
            assert!(!pattern.matches(topic) || topic.starts_with(pattern.prefix()));
        }
    }
}

/// A datagram is accepted exactly if the same bytes in a stream are one whole frame, and then it is the same frame.
pub fn datagram(data: &[u8]) {
    let stream = read(data, &mut Cuts::none());
    match Frame::from_datagram(Bytes::copy_from_slice(data), MAX_BODY) {
        Ok(frame) => assert_eq!(stream, Trace { seen: vec![Seen::Frame(frame)], end: End::Clean }),
        Err(Some(violation)) => assert_eq!(stream, Trace { seen: vec![], end: End::Violation(violation) }),
        Err(None) => assert!(!(stream.end == End::Clean && matches!(stream.seen[..], [Seen::Frame(_)]))),
    }
}

/// A decoded value survives encoding and decoding in every encoding. Types of the broker's own service do so in JSON only: they omit
/// members, and so are never bincode.
///
/// Input: one byte for the encoding, then the body.
pub fn codec(data: &[u8]) {
    let Some((encoding, body)) = data.split_first() else { return };
    let encoding = Encoding(*encoding);
    check_value::<Sample>(encoding, body, &[Encoding::BYTES, Encoding::BINCODE, Encoding::JSON]);
    check_value::<control::Register>(Encoding::JSON, body, &[Encoding::JSON]);
    check_value::<control::List>(Encoding::JSON, body, &[Encoding::JSON]);
    check_value::<control::Names>(Encoding::JSON, body, &[Encoding::JSON]);
    check_value::<control::Shown>(Encoding::JSON, body, &[Encoding::JSON]);
    check_value::<control::PeerPage>(Encoding::JSON, body, &[Encoding::JSON]);
    check_value::<control::Limits>(Encoding::JSON, body, &[Encoding::JSON]);
    check_value::<control::Wait>(Encoding::JSON, body, &[Encoding::JSON]);
}

/// A line of an agent or of its server is messages or refusals. A message means the same when it is written and read again, on one line;
/// what is refused can be answered, which is a message, too.
pub fn mcp(data: &[u8]) {
    for outcome in message::read(data) {
        let (written, is_same): (Value, fn(&message::Message) -> bool) = match outcome {
            Ok(message::Message::Request { id, method, params }) => {
                (json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }), |again| {
                    matches!(again, message::Message::Request { .. })
                })
            }
            Ok(message::Message::Notification { method, params }) => {
                (message::notification(&method, Value::Object(params)), |again| {
                    matches!(again, message::Message::Notification { .. })
                })
            }
            Ok(message::Message::Answer { id, outcome }) if !id.is_null() => {
                (message::reply(&id, outcome), |again| matches!(again, message::Message::Answer { .. }))
            }
            Ok(message::Message::Answer { .. }) => continue,
            Err(message::Refused { id, fault }) => {
                assert!(id.is_null() || id.is_string() || id.is_number());
                (message::reply(&id, Err(fault)), |again| {
                    matches!(again, message::Message::Answer { outcome: Err(_), .. })
                })
            }
        };
        let line = message::line(&written);
        assert_eq!(line.matches(['\n', '\u{2028}', '\u{2029}']).count(), 1, "{line:?}");
        let [Ok(again)] = &message::read(line.as_bytes())[..] else { panic!("{line:?} is not one message") };
        assert!(is_same(again), "{line:?} is another message");
    }
}

// ---- streams

/// The result of decoding a stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Trace {
    /// The decoder's output, in order.
    pub seen: Vec<Seen>,
    /// How it ended.
    pub end: End,
}

/// The output of a decoder, without its requests for memory, which depend on where reads end.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// A whole frame.
    Frame(Frame),
    /// The header of a frame whose body was skipped.
    TooLarge(Header),
}

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Between two frames.
    Clean,
    /// In the middle of a frame.
    MidFrame,
    /// With a violation.
    Violation(Violation),
}

/// Reads a stream in pieces.
pub fn read(stream: &[u8], cuts: &mut Cuts) -> Trace {
    let mut decoder = Decoder::new(MAX_BODY);
    let mut seen = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(cuts.next_len(rest.len()));
        rest = behind;
        match take(&mut decoder, piece, &mut seen) {
            Ok(()) => {}
            Err(violation) => return Trace { seen, end: End::Violation(violation) },
        }
    }
    let end = if decoder.mid_frame() { End::MidFrame } else { End::Clean };
    Trace { seen, end }
}

/// Feeds one piece as the owner of a connection does: directly into the decoder's memory if it offers any, or else as a chunk.
fn take(decoder: &mut Decoder, piece: &[u8], seen: &mut Vec<Seen>) -> Result<(), Violation> {
    match decoder.direct() {
        Some((place, _)) => place.extend_from_slice(piece),
        None => decoder.feed(Bytes::copy_from_slice(piece)),
    }
    while let Some(incoming) = decoder.next()? {
        match incoming {
            Incoming::Frame(frame) => {
                assert!(frame.header.body_len <= MAX_BODY);
                assert_eq!(frame.header.frame_len(), HEADER_LEN + frame.routing.len() + frame.body.len());
                seen.push(Seen::Frame(frame));
            }
            Incoming::TooLarge(header) => {
                assert!(header.body_len > MAX_BODY);
                seen.push(Seen::TooLarge(header));
            }
            Incoming::Begun(header) => {
                let len = header.frame_len();
                assert!(len > Decoder::ALLOWANCE && len <= HEADER_LEN + usize::from(MAX_ROUTING) + MAX_BODY as usize);
                assert!(decoder.wants_assembly());
                decoder.detach();
                decoder.assemble();
            }
        }
    }
    Ok(())
}

/// Where reads end.
#[derive(Debug)]
pub struct Cuts(Kind);

#[derive(Debug)]
enum Kind {
    None,
    EachByte,
    Seeded(u64),
}

impl Cuts {
    /// Everything in one read.
    pub fn none() -> Self {
        Self(Kind::None)
    }

    /// One byte per read.
    pub fn each_byte() -> Self {
        Self(Kind::EachByte)
    }

    /// At random lengths, from one byte to thousands.
    pub fn seeded(seed: u32) -> Self {
        Self(Kind::Seeded(u64::from(seed) | 1 << 32))
    }

    fn next_len(&mut self, left: usize) -> usize {
        match &mut self.0 {
            Kind::None => left,
            Kind::EachByte => 1,
            Kind::Seeded(state) => {
                // xorshift64: the cuts need variety, not quality.
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                let magnitude = *state % 14;
                let len = 1 + (*state >> 32) % (1 << magnitude);
                usize::try_from(len).unwrap_or(left).min(left)
            }
        }
    }
}

// ---- routing

fn check_target(section: &Routing) {
    if section.service().starts_with(b"@") {
        assert!(PeerNumber::parse_address(section.service()).is_some());
    } else if !section.service().is_empty() {
        assert!(str::from_utf8(section.service()).is_ok_and(|name| ServiceName::parse(name).is_ok()));
    }
    assert!(str::from_utf8(section.method()).is_ok_and(|name| MethodName::parse(name).is_ok()));
}

fn check_retarget(section: &Routing) {
    let moved = section.retarget("a", "b");
    assert_eq!((moved.service(), moved.method()), (&b"a"[..], &b"b"[..]));
    assert_eq!(moved.field(FieldTag::CALLER), None);
    let fits = section.raw().len() + 8 <= usize::from(MAX_ROUTING);
    for tag in (FieldTag::TRACE.0..=127).map(FieldTag).filter(|_| fits) {
        assert_eq!(moved.field(tag), section.field(tag));
    }
}

fn check_text<T: FromStr + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}

// ---- patterns

/// What a pattern asks of the labels of a topic, one after another.
#[derive(Debug)]
enum Want<'a> {
    Label(&'a str),
    Any,
    /// One label or more.
    Rest,
}

/// The parts of a pattern; `None` if it is none.
fn wants<'a>(text: &'a str) -> Option<Vec<Want<'a>>> {
    let mut labels: Vec<&str> = text.split('.').collect();
    let is_open = labels.len() > 1 && labels.last() == Some(&"");
    if is_open {
        labels.pop();
    }
    let last = labels.len() - 1;
    let want = |(at, label): (usize, &&'a str)| match *label {
        "*" => Some(Want::Any),
        "**" if at == last && !is_open => Some(Want::Rest),
        label => is_label(label).then_some(Want::Label(label)),
    };
    let wanted: Option<Vec<_>> = labels.iter().enumerate().map(want).collect();
    let rest = is_open.then_some(Want::Rest);
    wanted.filter(|_| text.len() <= MAX_NAME).map(|wanted| wanted.into_iter().chain(rest).collect())
}

fn is_label(text: &str) -> bool {
    let is_taken = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    !text.is_empty() && text.bytes().all(is_taken)
}

fn stands_for(wanted: &[Want<'_>], labels: &[&str]) -> bool {
    match (wanted, labels) {
        ([], []) => true,
        ([Want::Rest], [_, ..]) => true,
        ([Want::Any, wanted @ ..], [_, labels @ ..]) => stands_for(wanted, labels),
        ([Want::Label(label), wanted @ ..], [found, labels @ ..]) => label == found && stands_for(wanted, labels),
        _ => false,
    }
}

// ---- codec

/// A value with all kinds of parts that bodies have.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    signed: i64,
    unsigned: u32,
    flag: bool,
    text: String,
    list: Vec<u16>,
    map: BTreeMap<String, Option<i8>>,
    choice: Choice,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Choice {
    Nothing,
    Pair(u8, u64),
    Named { name: String },
}

fn check_value<T: Serialize + DeserializeOwned + PartialEq + Debug>(from: Encoding, body: &[u8], through: &[Encoding]) {
    let Ok(value) = codec::decode::<T>(from, body) else { return };
    for encoding in through {
        let body = codec::encode(*encoding, &value)
            .expect("it came from a body, and escapes make it six times as long at most");
        let again = codec::decode::<T>(*encoding, &body);
        assert_eq!(again.unwrap_or_else(|error| panic!("{value:?} in {encoding}: {error}")), value);
    }
}
