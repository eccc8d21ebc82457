//! The decoder on every short routing section, every header, and each length at and around its limit, compared with a naive decoder
//! ([`naive`]) that is written from the document.
#![forbid(unsafe_code)]

mod naive;

use bytes::Bytes;
use ipc_protocol::{
    Decoder, FieldTag, Flags, Frame, Header, Incoming, Kind, Message, Routing, RoutingError, Violation,
    limits::{HEADER_LEN, MAX_BODY, MAX_CALL_ROUTING, MAX_FDS, MAX_ROUTING},
};

use naive::Verdict;

/// Ends in 0 to 2 bytes first; then in each byte.
#[test]
fn every_routing_section_of_up_to_three_bytes() {
    let agree = |section: &Bytes| assert_eq!(of_section(section), naive::section(section), "{section:?}");
    agree(&Bytes::new());
    (0..=u8::MAX).for_each(|first| agree(&Bytes::from(vec![first])));
    for (first, second) in pairs() {
        let all: Bytes = (0..=u8::MAX).flat_map(|third| [first, second, third]).collect();
        agree(&all.slice(..2));
        (0..256).map(|third| all.slice(third * 3..third * 3 + 3)).for_each(|section| agree(&section));
    }
}

#[test]
fn every_kind_with_every_must_understand_flag() {
    let sections = [vec![], whole_section()];
    for ((kind, flags), section) in pairs().flat_map(|pair| sections.iter().map(move |section| (pair, section))) {
        agree(&frame(Header { flags: Flags(u16::from(flags) << 8), ..Header::new(Kind(kind), 7) }, section, 0));
    }
}

#[test]
fn every_kind_with_every_flag_that_may_be_ignored() {
    for (kind, flags) in pairs() {
        agree(&frame(Header { flags: Flags(flags.into()), ..Header::new(Kind(kind), 7) }, &whole_section(), 0));
    }
}

#[test]
fn every_length_of_a_header_at_zero_at_its_limit_and_over_it() {
    let lens_of_body = [0, 1, MAX_BODY - 1, MAX_BODY, MAX_BODY + 1];
    let lens_of_section =
        [0, MAX_CALL_ROUTING, MAX_CALL_ROUTING + 1, MAX_CALL_ROUTING + 2, MAX_ROUTING, MAX_ROUTING + 1];
    for (kind, body_len) in (0..=15).flat_map(|kind| lens_of_body.map(|len| (Kind(kind), len))) {
        for section in lens_of_section.map(|len| padded(&whole_section(), len.into())) {
            agree(&frame(Header::new(kind, 7), &section, body_len));
        }
    }
    for header in [u32::MAX, MAX_BODY + 1].map(|body_len| Header { body_len, ..Header::new(Kind::CALL, 7) }) {
        agree(&header.to_bytes());
        agree(&Header { routing_len: u16::MAX, ..header }.to_bytes());
    }
}

#[test]
fn every_count_of_descriptors_and_every_version() {
    for byte in 0..=u8::MAX {
        agree(&Header { fds: byte, ..Header::new(Kind::PING, 7) }.to_bytes());
        agree(&Header { version: byte, ..Header::new(Kind::PING, 7) }.to_bytes());
    }
    let limit = u8::try_from(MAX_FDS).unwrap();
    let told = |fds| real(&Header { fds, ..Header::new(Kind::PING, 7) }.to_bytes()).1;
    assert_eq!(told(limit), Some(Violation::UnexpectedFds));
    assert_eq!(told(limit + 1), Some(Violation::TooManyFds(limit + 1)));
}

#[test]
fn every_field_at_every_length_around_its_limit_in_every_kind() {
    let lens = [0, 1, 2, 3, 4, 5, 7, 8, 9, 254, 255, 256, 2_047, 2_048, 2_049, 3_063, 3_064, 4_093, 4_094];
    for (tag, len) in (0..=u8::MAX).flat_map(|tag| lens.map(|len| (tag, len))) {
        let section = with_field(tag, &vec![b'a'; len]);
        for kind in 1..=14 {
            agree(&frame(Header::new(Kind(kind), 7), &section, 0));
        }
    }
}

#[test]
fn every_byte_in_a_name_a_text_and_an_address() {
    let fields = [FieldTag::SERVICE, FieldTag::METHOD, FieldTag::TEXT, FieldTag::AGENT, FieldTag::TRACE];
    for ((one, other), tag) in pairs().flat_map(|pair| fields.map(|tag| (pair, tag.0))) {
        agree(&frame(Header::new(Kind::CALL, 7), &with_field(tag, &[one, other]), 0));
    }
    for number in ["@0", "@1", "@01", "@+1", "@-1", "@ 1", "@18446744073709551615", "@18446744073709551616", "@1.a"] {
        agree(&frame(Header::new(Kind::CALL, 7), &with_field(2, number.as_bytes()), 0));
    }
}

#[test]
fn every_call_cut_short_is_awaited() {
    let whole = frame(Header::new(Kind::CALL, 7), &whole_section(), 3);
    (0..=whole.len()).for_each(|len| agree(&whole[..len]));
}

// ---- the real decoder, and what the naive one would say

fn agree(bytes: &[u8]) {
    let (verdict, violation) = real(bytes);
    let head = &bytes[..bytes.len().min(HEADER_LEN + 32)];
    assert_eq!(verdict, naive::decode(bytes), "{violation:?} in {} bytes: {head:02x?}", bytes.len());
}

/// What the decoder makes of a frame, and the violation that it tells.
fn real(bytes: &[u8]) -> (Verdict, Option<Violation>) {
    let mut decoder = Decoder::new(MAX_BODY);
    decoder.feed(Bytes::copy_from_slice(bytes));
    let frame = loop {
        match decoder.next() {
            Ok(Some(Incoming::Frame(frame))) => break frame,
            Ok(Some(Incoming::TooLarge(_))) => return (Verdict::TooLarge, None),
            Ok(Some(Incoming::Begun(_))) => decoder.assemble(),
            Ok(None) => return (Verdict::Incomplete, None),
            Err(violation) => return (Verdict::Violation, Some(violation)),
        }
    };
    match Message::decode(frame.clone()) {
        Ok(message) => (Verdict::Frame(fields_of(&message, &frame)), None),
        Err(Violation::Routing(error))
            if error.is_bad_name() && matches!(frame.header.kind, Kind::CALL | Kind::EVENT) =>
        {
            (Verdict::BadName, Some(error.into()))
        }
        Err(violation) => (Verdict::Violation, Some(violation)),
    }
}

/// The fields of a section; those of a call as the call has them, its stamp apart.
fn fields_of(message: &Message, frame: &Frame) -> Vec<(u8, Vec<u8>)> {
    let Message::Call(call) = message else { return listed(&Routing::parse(frame.routing.clone()).unwrap()) };
    let stamp = call.caller.get(3..).map(|stamp| (FieldTag::CALLER.0, stamp.to_vec()));
    let fields = stamp.into_iter().chain(listed(&call.routing)).collect::<Vec<_>>();
    let name = |tag: FieldTag| fields.iter().find(|(found, _)| *found == tag.0).map_or(&[][..], |(_, value)| value);
    assert_eq!((call.routing.service(), call.routing.method()), (name(FieldTag::SERVICE), name(FieldTag::METHOD)));
    fields
}

fn of_section(section: &Bytes) -> Verdict {
    match Routing::parse(section.clone()) {
        Ok(routing) => Verdict::Frame(listed(&routing)),
        Err(RoutingError::Service(_) | RoutingError::Method(_) | RoutingError::Topic(_)) => Verdict::BadName,
        Err(_) => Verdict::Violation,
    }
}

fn listed(routing: &Routing) -> Vec<(u8, Vec<u8>)> {
    if routing.raw().is_empty() {
        return Vec::new();
    }
    let occurs = |tag: &u8| routing.raw().contains(tag);
    (0..128).filter(occurs).filter_map(|tag| Some((tag, routing.field(FieldTag(tag))?.to_vec()))).collect()
}

// ---- building

/// A frame with a section and a body of zeros, whose header says so.
fn frame(header: Header, section: &[u8], body_len: u32) -> Vec<u8> {
    let header = Header { routing_len: u16::try_from(section.len()).unwrap(), body_len, ..header };
    let mut bytes = [&header.to_bytes()[..], section].concat();
    bytes.resize(bytes.len() + body_len as usize, 0);
    bytes
}

/// A section with which every kind is complete.
fn whole_section() -> Vec<u8> {
    [field(2, b"a"), field(3, b"b"), field(7, &[1, 1]), field(9, &[1; 8]), field(10, &[1; 4])].concat()
}

/// The same section, with a field more or another value in its place.
fn with_field(tag: u8, value: &[u8]) -> Vec<u8> {
    let whole = [(2, &b"a"[..]), (3, b"b"), (7, &[1, 1]), (9, &[1; 8]), (10, &[1; 4])];
    let mut fields: Vec<_> = whole.into_iter().filter(|(other, _)| *other != tag).collect();
    fields.push((tag, value));
    fields.sort_by_key(|(tag, _)| *tag);
    fields.into_iter().flat_map(|(tag, value)| field(tag, value)).collect()
}

/// A section made longer by a field of private use, or empty.
fn padded(section: &[u8], len: usize) -> Vec<u8> {
    match len.checked_sub(section.len() + 3) {
        Some(padding) => [section, &field(100, &vec![b'p'; padding])].concat(),
        None => Vec::new(),
    }
}

fn field(tag: u8, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len()).unwrap().to_le_bytes();
    [&[tag], &len[..], value].concat()
}

fn pairs() -> impl Iterator<Item = (u8, u8)> {
    (0..=u8::MAX).flat_map(|one| (0..=u8::MAX).map(move |other| (one, other)))
}
