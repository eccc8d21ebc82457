//! A decoder written from docs/protocol.md alone: no slices, no state, no speed. The real one must agree with it.

/// What a receiver makes of the bytes of one frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A frame, with its routing fields.
    Frame(Vec<(u8, Vec<u8>)>),
    /// A call of a name, or an event on a topic, that cannot exist: refused, and its sender lives on.
    BadName,
    /// The body is over the limit: skipped.
    TooLarge,
    /// The sender is cut.
    Violation,
    /// More bytes are needed.
    Incomplete,
}

const CALLER: u8 = 1;
const SERVICE: u8 = 2;
const METHOD: u8 = 3;
const TEXT: u8 = 5;
const FEATURES: u8 = 6;
const VERSIONS: u8 = 7;
const AGENT: u8 = 8;
const PEER: u8 = 9;
const MAX_BODY: u8 = 10;
const CALL_MAX: u8 = 12;
const TOPIC: u8 = 13;
const SEQUENCE: u8 = 14;
const COUNT: u8 = 15;
const FINGERPRINT: u8 = 16;

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const CALL: u8 = 3;
const CREDIT: u8 = 8;
const EVENT: u8 = 10;
const GAP: u8 = 11;
/// Reply, error, item, end, cancel, goodbye, ping and pong: kinds without further rules.
const OTHERS: [u8; 8] = [4, 5, 6, 7, 9, 12, 13, 14];

/// The verdict on a frame, of which nothing follows the body.
pub(crate) fn decode(bytes: &[u8]) -> Verdict {
    if bytes.first().is_some_and(|magic| *magic != 0xC1) {
        return Verdict::Violation;
    }
    if bytes.len() < 32 {
        return Verdict::Incomplete;
    }
    let (kind, high_flags, fds) = (bytes[2], bytes[5], bytes[6]);
    let routing_len = usize::from(bytes[20]) + 256 * usize::from(bytes[21]);
    let body_len = bytes[16..20].iter().rev().fold(0, |number, byte| number * 256 + usize::from(*byte));
    if bytes[1] != 1 || routing_len > 4_096 || fds > 0 || high_flags & 0xF8 != 0 {
        return Verdict::Violation;
    }
    if body_len > 1_048_576 {
        return Verdict::TooLarge;
    }
    if bytes.len() < 32 + routing_len + body_len {
        return Verdict::Incomplete;
    }
    message(kind, section(&bytes[32..32 + routing_len]), routing_len)
}

/// The verdict on a routing section: its fields, a bad name if nothing else is wrong, or a violation.
pub(crate) fn section(bytes: &[u8]) -> Verdict {
    let (mut fields, mut rest, mut is_misnamed) = (Vec::<(u8, Vec<u8>)>::new(), bytes, false);
    while !rest.is_empty() {
        if rest.len() < 3 {
            return Verdict::Violation;
        }
        let (tag, len) = (rest[0], usize::from(rest[1]) + 256 * usize::from(rest[2]));
        let last = fields.last().map_or(0, |(tag, _)| *tag);
        if rest.len() < 3 + len || tag <= last {
            return Verdict::Violation;
        }
        let value = &rest[3..3 + len];
        if !value_is_fine(tag, value) {
            return Verdict::Violation;
        }
        is_misnamed |= tag == SERVICE && !is_service(value) || tag == METHOD && !is_method(value);
        is_misnamed |= tag == TOPIC && !is_topic(value);
        fields.push((tag, value.to_vec()));
        rest = &rest[3 + len..];
    }
    if is_misnamed { Verdict::BadName } else { Verdict::Frame(fields) }
}

fn message(kind: u8, section: Verdict, routing_len: usize) -> Verdict {
    let fields = match section {
        Verdict::Frame(fields) => fields,
        Verdict::BadName if kind == CALL || kind == EVENT => return Verdict::BadName,
        _ => return Verdict::Violation,
    };
    let has = |tag: u8| fields.iter().any(|(found, _)| *found == tag);
    let is_fine = match kind {
        HELLO => has(VERSIONS),
        WELCOME => has(VERSIONS) && has(PEER) && has(MAX_BODY),
        CALL => has(SERVICE) && (has(CALLER) || routing_len <= 3_070),
        EVENT => has(TOPIC) && (has(CALLER) || routing_len <= 3_070),
        CREDIT | GAP => has(COUNT),
        _ => OTHERS.contains(&kind),
    };
    if is_fine { Verdict::Frame(fields) } else { Verdict::Violation }
}

fn value_is_fine(tag: u8, value: &[u8]) -> bool {
    match tag {
        TEXT => value.len() <= 2_048 && String::from_utf8(value.to_vec()).is_ok(),
        AGENT => value.len() <= 255 && String::from_utf8(value.to_vec()).is_ok(),
        VERSIONS => value.len() == 2,
        MAX_BODY..=CALL_MAX => value.len() == 4,
        FEATURES | PEER | SEQUENCE | COUNT | FINGERPRINT => value.len() == 8,
        _ => tag < 128,
    }
}

fn is_service(name: &[u8]) -> bool {
    if let Some(number) = name.strip_prefix(b"@") {
        let text = String::from_utf8_lossy(number).into_owned();
        return !text.starts_with(['0', '+']) && text.parse::<u64>().is_ok();
    }
    is_topic(name)
}

fn is_topic(name: &[u8]) -> bool {
    name.len() <= 255 && name.split(|byte| *byte == b'.').all(is_label)
}

fn is_method(name: &[u8]) -> bool {
    name.is_empty() || name == b"?" || name.len() <= 255 && is_label(name)
}

fn is_label(label: &[u8]) -> bool {
    !label.is_empty() && label.iter().all(|byte| b"abcdefghijklmnopqrstuvwxyz0123456789_-".contains(byte))
}
