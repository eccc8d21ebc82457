//! The decoder against every way in which a stream can arrive: cut, glued, cut short, too long, hostile.
#![forbid(unsafe_code)]

mod document;

use bytes::Bytes;
use ipc_protocol::{
    Body, Call, Decoder, Encoding, ErrorCode, Failure, FieldTag, Flags, Frame, Goodbye, Header, Hello, Identity,
    Incoming, Kind, Message, PeerNumber, Reply, Routing, RoutingError, Violation,
    limits::{HEADER_LEN, MAX_BODY, MAX_CALL_ROUTING, MAX_FDS, MAX_GROUPS, MAX_NAME, MAX_ROUTING, MAX_TEXT},
};

// ---- cut and glued

#[test]
fn a_session_cut_at_any_byte_gives_the_same_messages() {
    let session = session();
    let glued = receive([&session[..]]).unwrap();
    let differs = |cut: &usize| receive([&session[..*cut], &session[*cut..]]).as_ref() != Ok(&glued);
    assert_eq!(glued.len(), document::frames().len() + 2);
    assert_eq!((0..=session.len()).find(differs), None, "cut at this byte");
}

#[test]
fn a_session_byte_by_byte_gives_the_same_messages() {
    let session = session();
    assert_eq!(receive(session.chunks(1)), receive([&session[..]]));
}

#[test]
fn a_session_in_pieces_of_any_length_gives_the_same_messages() {
    let session = session();
    let glued = receive([&session[..]]);
    let differs = |len: &usize| receive(session.chunks(*len)) != glued;
    assert_eq!((1..session.len()).find(differs), None, "pieces of this length");
}

#[test]
fn a_session_cut_at_random_gives_the_same_messages() {
    let session = session();
    let glued = receive([&session[..]]);
    let differs = |seed: &u64| receive(pieces(&session, &mut Random(*seed))) != glued;
    assert_eq!((1..500).find(differs), None, "seed");
}

#[test]
fn a_damaged_session_cut_at_random_gives_the_same_messages_and_the_same_violation() {
    let differs = |seed: &u64| {
        let mut random = Random(*seed);
        let mut session = session();
        let at = random.below(session.len());
        session[at] ^= 1 << random.below(8);
        receive(pieces(&session, &mut random)) != receive([&session[..]])
    };
    assert_eq!((1..2_000).find(differs), None, "seed");
}

#[test]
fn noise_behind_a_magic_never_panics() {
    let read = |seed: u64| {
        let mut random = Random(seed);
        let mut noise: Vec<u8> = (0..200).map(|_| random.byte()).collect();
        noise[..2].copy_from_slice(&Header::new(Kind::CALL, 0).to_bytes()[..2]);
        receive([&noise[..]])
    };
    (1..5_000).for_each(|seed| drop(read(seed)));
}

// ---- cut short

#[test]
fn a_frame_of_any_kind_cut_short_is_awaited() {
    let cut_short =
        |(_, frame): (String, Vec<u8>)| (1..frame.len()).map(move |len| Bytes::copy_from_slice(&frame[..len]));
    let is_awaited = |piece: Bytes| {
        let mut decoder = Decoder::new(MAX_BODY);
        decoder.feed(piece);
        decoder.next() == Ok(None) && decoder.mid_frame()
    };
    assert!(document::frames().into_iter().flat_map(cut_short).all(is_awaited));
}

#[test]
fn a_routing_section_cut_short_is_a_violation_or_lacks_a_field() {
    let shortened = |(_, bytes): (String, Vec<u8>)| {
        let (header, rest) = bytes.split_at(HEADER_LEN);
        let header = Header::from_bytes(header.try_into().unwrap()).unwrap();
        let whole = Bytes::copy_from_slice(&rest[..usize::from(header.routing_len)]);
        (1..header.routing_len).map(move |len| Frame {
            header,
            routing: whole.slice(..usize::from(len)),
            body: Body::default(),
        })
    };
    let is_refused_or_shorter = |frame: Frame| match Message::decode(frame.clone()) {
        Err(Violation::Routing(RoutingError::Truncated(_) | RoutingError::Missing(_))) => true,
        Err(_) => false,
        // What may be absent is written all the same: FEATURES of a hello take 11 bytes, the deadlines of a welcome 14.
        Ok(message) => message.to_vec().len() <= HEADER_LEN + frame.routing.len() + 14,
    };
    assert!(document::frames().into_iter().flat_map(shortened).all(is_refused_or_shorter));
}

#[test]
fn an_idle_connection_is_not_in_the_middle_of_a_frame() {
    let mut decoder = Decoder::new(MAX_BODY);
    assert!(!decoder.mid_frame());
    decoder.feed(document::frame("call").into());
    assert!(matches!(decoder.next(), Ok(Some(Incoming::Frame(_)))));
    assert!(!decoder.mid_frame());
}

#[test]
fn a_datagram_cut_short_or_with_bytes_behind_is_refused_without_a_violation() {
    let datagram = document::frame("datagram");
    let refused = |bytes: &[u8]| Frame::from_datagram(Bytes::copy_from_slice(bytes), MAX_BODY) == Err(None);
    assert!(Frame::from_datagram(datagram.clone().into(), MAX_BODY).is_ok());
    assert!((0..datagram.len()).all(|len| refused(&datagram[..len])));
    assert!(refused(&[&datagram[..], b"!"].concat()));
    assert!(refused(&datagram.repeat(2)));
}

// ---- each limit, and one more

#[test]
fn a_body_over_the_limit_is_skipped_and_the_next_frame_is_intact() {
    let (too_large, ping) = (reply_of(LIMIT + 1), Message::Ping(7));
    let stream = [too_large.to_vec(), ping.to_vec()].concat();
    let seen = receive_up_to(LIMIT, [&stream[..]]).unwrap();
    assert_eq!(seen, [Seen::TooLarge(too_large.header()), Seen::Message(ping)]);
}

#[test]
fn a_body_over_the_limit_is_skipped_wherever_the_stream_is_cut() {
    let stream = [call_of(LIMIT + 1).to_vec(), call_of(LIMIT).to_vec(), Message::Ping(7).to_vec()].concat();
    let glued = receive_up_to(LIMIT, [&stream[..]]);
    let differs = |cut: &usize| receive_up_to(LIMIT, [&stream[..*cut], &stream[*cut..]]) != glued;
    assert_eq!(glued.as_ref().map(Vec::len), Ok(3));
    assert_eq!((0..=stream.len()).find(differs), None, "cut at this byte");
    assert_eq!(receive_up_to(LIMIT, stream.chunks(1)), glued);
}

#[test]
fn while_a_body_is_skipped_its_sender_is_on_the_clock() {
    let too_large = reply_of(LIMIT + 1).to_vec();
    let mut decoder = Decoder::new(LIMIT);
    decoder.feed(Bytes::copy_from_slice(&too_large[..too_large.len() - 1]));
    assert!(matches!(decoder.next(), Ok(Some(Incoming::TooLarge(_)))));
    assert_eq!(decoder.next(), Ok(None));
    assert!(decoder.mid_frame());
    decoder.feed(Bytes::copy_from_slice(&too_large[too_large.len() - 1..]));
    assert_eq!(decoder.next(), Ok(None));
    assert!(!decoder.mid_frame());
}

#[test]
fn the_largest_body_of_the_wire_passes_and_one_more_byte_does_not() {
    let largest = reply_of(MAX_BODY);
    let over = reply_of(MAX_BODY + 1);
    assert_eq!(receive([&largest.to_vec()[..]]), Ok(vec![Seen::Message(largest)]));
    assert_eq!(receive([&over.to_vec()[..]]), Ok(vec![Seen::TooLarge(over.header())]));
}

#[test]
fn a_body_of_four_gibibytes_is_announced_and_allocates_nothing() {
    let header = Header { body_len: u32::MAX, routing_len: MAX_ROUTING, ..Header::new(Kind::CALL, 1) };
    assert_eq!(receive([&header.to_bytes()[..]]), Ok(vec![Seen::TooLarge(header)]));
}

#[test]
fn a_routing_section_over_the_limit_is_a_violation() {
    let of_len = |len| Header { routing_len: len, ..Header::new(Kind::ERROR, 1) }.to_bytes();
    assert_eq!(receive([&of_len(MAX_ROUTING)[..]]), Ok(vec![]));
    assert_eq!(receive([&of_len(MAX_ROUTING + 1)[..]]), Err(Violation::RoutingTooLong(MAX_ROUTING + 1)));
    assert_eq!(receive([&of_len(u16::MAX)[..]]), Err(Violation::RoutingTooLong(u16::MAX)));
}

#[test]
fn the_routing_section_of_a_call_leaves_room_for_the_broker() {
    let longest = call_with(&Routing::to("a", "").put(FieldTag::TRACE, &trace(7)).build());
    let over = call_with(&Routing::to("a", "").put(FieldTag::TRACE, &trace(6)).build());
    assert_eq!(receive_one(&longest), Ok(longest));
    assert_eq!(receive_one(&over), Err(Violation::CallSectionTooLong(MAX_CALL_ROUTING + 1)));
}

#[test]
fn a_service_name_has_at_most_255_bytes() {
    let named = |len| section(&[(FieldTag::SERVICE, &vec![b'a'; len])]);
    assert!(decode(Kind::CALL, named(MAX_NAME)).is_ok());
    assert!(matches!(decode(Kind::CALL, named(MAX_NAME + 1)), Err(Violation::Routing(RoutingError::Service(_)))));
}

#[test]
fn a_method_name_has_at_most_255_bytes() {
    let named = |len| section(&[(FieldTag::SERVICE, b"a"), (FieldTag::METHOD, &vec![b'a'; len])]);
    assert!(decode(Kind::CALL, named(MAX_NAME)).is_ok());
    assert!(matches!(decode(Kind::CALL, named(MAX_NAME + 1)), Err(Violation::Routing(RoutingError::Method(_)))));
}

#[test]
fn a_sentence_has_at_most_2048_bytes() {
    let of_len = |len| section(&[(FieldTag::TEXT, &vec![b'a'; len])]);
    assert!(decode(Kind::ERROR, of_len(MAX_TEXT)).is_ok());
    assert_eq!(decode(Kind::ERROR, of_len(MAX_TEXT + 1)), Err(RoutingError::Text(FieldTag::TEXT.0).into()));
}

#[test]
fn an_agent_has_at_most_255_bytes() {
    let of_len = |len| section(&[(FieldTag::VERSIONS, &[1, 1]), (FieldTag::AGENT, &vec![b'a'; len])]);
    assert!(decode(Kind::HELLO, of_len(MAX_NAME)).is_ok());
    assert_eq!(decode(Kind::HELLO, of_len(MAX_NAME + 1)), Err(RoutingError::Text(FieldTag::AGENT.0).into()));
}

#[test]
fn a_sender_cuts_its_own_texts_to_the_limit() {
    let text = "é".repeat(MAX_TEXT);
    let failure = Message::Error(Failure::new(1, ErrorCode::BUSY, text.clone()));
    let goodbye = Message::Goodbye(Goodbye { code: ErrorCode::PROTOCOL, text: text.clone() });
    let hello = Message::Hello(Hello::new(text.clone()));
    let Ok(Message::Error(failure)) = receive_one(&failure) else { panic!("no error") };
    let Ok(Message::Goodbye(goodbye)) = receive_one(&goodbye) else { panic!("no goodbye") };
    let Ok(Message::Hello(hello)) = receive_one(&hello) else { panic!("no hello") };
    assert_eq!([failure.text.len(), goodbye.text.len(), hello.agent.len()], [MAX_TEXT, MAX_TEXT, MAX_NAME - 1]);
    assert!([failure.text, goodbye.text, hello.agent].iter().all(|cut| text.starts_with(cut)));
}

#[test]
fn a_stamp_has_at_most_64_groups() {
    let stamp_of = |groups: u32| {
        let mut identity = Identity::new(1, 1);
        identity.groups = (0..groups).collect();
        Identity::from_stamp(&identity.stamp(Some(PeerNumber(1)))).unwrap().0
    };
    let limit = u32::try_from(MAX_GROUPS).unwrap();
    assert_eq!((stamp_of(limit).groups.len(), stamp_of(limit).groups_incomplete), (MAX_GROUPS, false));
    assert_eq!((stamp_of(limit + 1).groups.len(), stamp_of(limit + 1).groups_incomplete), (MAX_GROUPS, true));
}

// ---- frames that need memory

#[test]
fn a_long_frame_waits_until_its_memory_is_granted() {
    let long = reply_of(20_000);
    let bytes = long.to_vec();
    let mut decoder = Decoder::new(MAX_BODY);
    decoder.feed(Bytes::copy_from_slice(&bytes[..1_000]));

    assert_eq!(decoder.next(), Ok(Some(Incoming::Begun(long.header()))));
    assert_eq!(decoder.next(), Ok(Some(Incoming::Begun(long.header()))), "it stands still");
    assert!(decoder.wants_assembly() && decoder.mid_frame());
    assert_eq!((decoder.granted(), decoder.direct()), (0, None));

    decoder.assemble();
    assert_eq!(decoder.next(), Ok(None));
    assert_eq!(decoder.granted(), bytes.len());
    let (place, missing) = decoder.direct().unwrap();
    assert_eq!(missing, bytes.len() - 1_000);
    place.extend_from_slice(&bytes[1_000..]);
    let Ok(Some(Incoming::Frame(frame))) = decoder.next() else { panic!("no frame") };
    assert_eq!(Message::decode(frame), Ok(long));
    assert_eq!((decoder.granted(), decoder.mid_frame()), (0, false));
}

#[test]
fn a_long_frame_that_was_granted_a_part_asks_again_when_that_has_come() {
    let long = reply_of(20_000);
    let bytes = long.to_vec();
    let mut decoder = Decoder::new(MAX_BODY);
    decoder.feed(Bytes::copy_from_slice(&bytes[..1_000]));
    assert_eq!(decoder.next(), Ok(Some(Incoming::Begun(long.header()))));

    decoder.grant(3_000);
    assert_eq!(decoder.next(), Ok(None));
    let (place, missing) = decoder.direct().unwrap();
    assert_eq!(missing, 2_000);
    place.extend_from_slice(&bytes[1_000..3_000]);
    assert_eq!(decoder.next(), Ok(Some(Incoming::Begun(long.header()))));
    assert_eq!((decoder.granted(), decoder.direct()), (3_000, None));

    decoder.assemble();
    decoder.feed(Bytes::copy_from_slice(&bytes[3_000..]));
    let Ok(Some(Incoming::Frame(frame))) = decoder.next() else { panic!("no frame") };
    assert_eq!(Message::decode(frame), Ok(long));
}

#[test]
fn half_a_long_frame_can_be_left_out() {
    let (long, next) = (reply_of(20_000), reply_of(10));
    let bytes = long.to_vec();
    let mut decoder = Decoder::new(MAX_BODY);
    decoder.feed(Bytes::copy_from_slice(&bytes[..1_000]));
    assert_eq!(decoder.next(), Ok(Some(Incoming::Begun(long.header()))));
    decoder.grant(3_000);
    assert_eq!(decoder.next(), Ok(None));
    decoder.feed(Bytes::copy_from_slice(&bytes[1_000..4_000]));
    assert_eq!(decoder.next(), Ok(Some(Incoming::Begun(long.header()))));

    decoder.skip();
    assert_eq!(decoder.next(), Ok(None));
    decoder.feed([&bytes[4_000..], &next.to_vec()].concat().into());

    let Ok(Some(Incoming::Frame(frame))) = decoder.next() else { panic!("no frame") };
    assert_eq!(Message::decode(frame), Ok(next));
}

#[test]
fn a_grant_holds_for_one_frame() {
    let long = reply_of(20_000);
    let bytes = long.to_vec();
    let mut decoder = Decoder::new(MAX_BODY);
    decoder.feed(Bytes::copy_from_slice(&bytes[..1_000]));
    assert!(matches!(decoder.next(), Ok(Some(Incoming::Begun(_)))));
    decoder.assemble();
    assert_eq!(decoder.next(), Ok(None));
    decoder.feed(Bytes::from([&bytes[1_000..], &bytes[..1_000]].concat()));
    assert!(matches!(decoder.next(), Ok(Some(Incoming::Frame(_)))));
    assert_eq!(decoder.next(), Ok(Some(Incoming::Begun(long.header()))));
}

#[test]
fn a_long_frame_that_came_whole_needs_no_grant() {
    let long = reply_of(20_000);
    let mut decoder = Decoder::new(MAX_BODY);
    decoder.feed(long.to_vec().into());
    assert!(matches!(decoder.next(), Ok(Some(Incoming::Frame(_)))));
}

#[test]
fn the_longest_frame_within_the_allowance_needs_no_grant() {
    let body = |len: usize| u32::try_from(len - HEADER_LEN).unwrap();
    let first_of = |message: Message| {
        let mut decoder = Decoder::new(MAX_BODY);
        decoder.feed(Bytes::copy_from_slice(&message.to_vec()[..100]));
        decoder.next()
    };
    assert_eq!(first_of(reply_of(body(Decoder::ALLOWANCE))), Ok(None));
    let over = reply_of(body(Decoder::ALLOWANCE + 1));
    assert_eq!(first_of(over.clone()), Ok(Some(Incoming::Begun(over.header()))));
}

#[test]
fn a_frame_that_is_left_out_is_skipped_wherever_it_was_cut() {
    let (long, next) = (reply_of(20_000).to_vec(), Message::Ping(7).to_vec());
    for cut in [HEADER_LEN, HEADER_LEN + 1, 1_000, long.len() - 1] {
        let mut decoder = Decoder::new(MAX_BODY);
        decoder.feed(Bytes::copy_from_slice(&long[..cut]));
        assert!(matches!(decoder.next(), Ok(Some(Incoming::Begun(_)))));
        decoder.skip();
        assert_eq!(decoder.next(), Ok(None));
        assert!(decoder.mid_frame(), "the rest is still to come");
        decoder.feed([&long[cut..], &next[..]].concat().into());
        let Ok(Some(Incoming::Frame(frame))) = decoder.next() else { panic!("cut at {cut}: no frame") };
        assert_eq!(Message::decode(frame), Ok(Message::Ping(7)));
        assert!(!decoder.mid_frame() && decoder.held() == 0);
    }
}

#[test]
fn a_decoder_that_stands_still_lets_go_of_the_shared_buffer() {
    let bytes = reply_of(20_000).to_vec();
    let shared = Bytes::copy_from_slice(&bytes[..1_000]);
    let mut decoder = Decoder::new(MAX_BODY);
    decoder.feed(shared.clone());
    assert!(matches!(decoder.next(), Ok(Some(Incoming::Begun(_)))));
    assert!(!shared.is_unique());
    decoder.detach();
    assert!(shared.is_unique());
}

#[test]
fn a_frame_that_came_whole_is_a_slice_of_what_was_read() {
    let read = Bytes::from(call_of(100).to_vec());
    let mut decoder = Decoder::new(MAX_BODY);
    decoder.feed(read.clone());
    let Ok(Some(Incoming::Frame(frame))) = decoder.next() else { panic!("no frame") };
    assert_eq!(frame.body.as_ptr(), read[read.len() - 100..].as_ptr());
}

// ---- hostile bytes

#[test]
fn other_protocols_are_told_apart_by_their_first_byte() {
    let refusal = |start: &[u8]| receive([start]).unwrap_err();
    assert_eq!(refusal(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), Violation::BadMagic(b'G'));
    assert_eq!(refusal(b"\0AUTH EXTERNAL 31303030\r\n"), Violation::BadMagic(0));
    assert_eq!(refusal(b"l\x01\0\x01\0\0\0\0"), Violation::BadMagic(b'l'));
    assert_eq!(refusal(b"\x16\x03\x01\x00\xf4\x01"), Violation::BadMagic(0x16));
    assert_eq!(refusal(b"SSH-2.0-OpenSSH_9.9\r\n"), Violation::BadMagic(b'S'));
    assert_eq!(refusal(b"{\"jsonrpc\":\"2.0\"}\n"), Violation::BadMagic(b'{'));
}

#[test]
fn every_first_byte_but_the_magic_is_refused_at_once() {
    let is_refused = |byte: u8| receive([&[byte][..]]) == Err(Violation::BadMagic(byte));
    assert_eq!((0..=u8::MAX).filter(|byte| !is_refused(*byte)).collect::<Vec<_>>(), [0xC1]);
}

#[test]
fn a_bad_magic_behind_a_good_frame_is_refused_after_that_frame() {
    let mut decoder = Decoder::new(MAX_BODY);
    decoder.feed(Bytes::from([Message::Ping(1).to_vec(), b"GET /".to_vec()].concat()));
    assert!(matches!(decoder.next(), Ok(Some(Incoming::Frame(_)))));
    assert_eq!(decoder.next(), Err(Violation::BadMagic(b'G')));
}

#[test]
fn other_versions_are_refused() {
    let in_version = |version| receive([&Header { version, ..Header::new(Kind::HELLO, 0) }.to_bytes()[..]]);
    assert_eq!(in_version(0), Err(Violation::Version { found: 0, spoken: 1 }));
    assert_eq!(in_version(2), Err(Violation::Version { found: 2, spoken: 1 }));
}

#[test]
fn each_unknown_flag_of_the_high_byte_is_refused_and_of_the_low_byte_ignored() {
    let with = |bit: u32| receive([&Header { flags: Flags(1 << bit), ..Header::new(Kind::PING, 1) }.to_bytes()[..]]);
    let refused: Vec<_> =
        (0..16).filter(|bit| with(*bit) == Err(Violation::FlagsNotUnderstood(Flags(1 << bit)))).collect();
    assert_eq!(refused, [11, 12, 13, 14, 15]);
    assert!((0..=10).all(|bit| with(bit) == Ok(vec![Seen::Message(Message::Ping(1))])));
}

#[test]
fn descriptors_are_refused() {
    let with = |fds| receive([&Header { fds, ..Header::new(Kind::PING, 1) }.to_bytes()[..]]);
    let limit = u8::try_from(MAX_FDS).unwrap();
    assert_eq!(with(1), Err(Violation::UnexpectedFds));
    assert_eq!(with(limit), Err(Violation::UnexpectedFds));
    assert_eq!(with(limit + 1), Err(Violation::TooManyFds(limit + 1)));
}

#[test]
fn an_unknown_kind_is_refused_under_its_number() {
    assert_eq!(decode(Kind(0), Bytes::new()), Err(Violation::UnknownKind(Kind(0))));
    assert_eq!(decode(Kind(200), Bytes::new()), Err(Violation::UnknownKind(Kind(200))));
}

#[test]
fn an_unknown_encoding_and_an_unknown_error_number_survive() {
    let reply = Message::Reply(Reply { id: 1, encoding: Encoding(77), body: Bytes::from_static(b"?").into() });
    let failure = Message::Error(Failure::new(1, ErrorCode(9_999), "from the future"));
    assert_eq!(receive_one(&reply), Ok(reply));
    assert_eq!(receive_one(&failure), Ok(failure));
}

#[test]
fn the_reserved_byte_and_a_body_that_a_kind_does_not_have_are_ignored() {
    let mut ping = Header { body_len: 3, ..Header::new(Kind::PING, 5) }.to_bytes();
    ping[7] = 0xFF;
    let stream = [&ping[..], b"???", &Message::Pong(6).to_vec()].concat();
    assert_eq!(receive([&stream[..]]), Ok(vec![Seen::Message(Message::Ping(5)), Seen::Message(Message::Pong(6))]));
}

#[test]
fn a_required_field_that_is_missing_is_a_violation() {
    let missing = |tag: FieldTag| Err(RoutingError::Missing(tag.0).into());
    let versions = (FieldTag::VERSIONS, &[1, 1][..]);
    assert_eq!(decode(Kind::CALL, section(&[(FieldTag::METHOD, b"now")])), missing(FieldTag::SERVICE));
    assert_eq!(decode(Kind::CALL, Bytes::new()), missing(FieldTag::SERVICE));
    assert_eq!(decode(Kind::HELLO, Bytes::new()), missing(FieldTag::VERSIONS));
    assert_eq!(decode(Kind::WELCOME, section(&[versions])), missing(FieldTag::PEER));
    assert_eq!(decode(Kind::WELCOME, section(&[versions, (FieldTag::PEER, &[0; 8])])), missing(FieldTag::MAX_BODY));
}

#[test]
fn a_field_of_fixed_size_has_that_size() {
    let wrong = |tag: FieldTag| Err(RoutingError::Size(tag.0).into());
    assert_eq!(decode(Kind::HELLO, section(&[(FieldTag::VERSIONS, &[1])])), wrong(FieldTag::VERSIONS));
    assert_eq!(decode(Kind::HELLO, section(&[(FieldTag::VERSIONS, &[1, 1, 1])])), wrong(FieldTag::VERSIONS));
    let features = section(&[(FieldTag::FEATURES, &[0; 7]), (FieldTag::VERSIONS, &[1, 1])]);
    assert_eq!(decode(Kind::HELLO, features), wrong(FieldTag::FEATURES));
}

// ---- building and reading

/// Limit on bodies where a test crosses it: small, so that a stream can be cut at each of its bytes.
const LIMIT: u32 = 6_000;

/// What came out of a decoder.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Message(Message),
    TooLarge(Header),
}

/// All frames of the document one after the other, and two that must be assembled when they are cut.
fn session() -> Vec<u8> {
    let mut session: Vec<u8> = document::frames().into_iter().flat_map(|(_, frame)| frame).collect();
    session.extend(call_of(5_000).to_vec());
    session.extend(reply_of(4_500).to_vec());
    session
}

fn receive<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Seen>, Violation> {
    receive_up_to(MAX_BODY, pieces)
}

/// Feeds the pieces one after the other, and grants all memory that is asked for.
fn receive_up_to<'a>(max_body: u32, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Seen>, Violation> {
    let mut decoder = Decoder::new(max_body);
    let mut seen = Vec::new();
    for piece in pieces {
        decoder.feed(Bytes::copy_from_slice(piece));
        while let Some(incoming) = decoder.next()? {
            match incoming {
                Incoming::Frame(frame) => seen.push(Seen::Message(Message::decode(frame)?)),
                Incoming::TooLarge(header) => seen.push(Seen::TooLarge(header)),
                Incoming::Begun(_) => decoder.assemble(),
            }
        }
    }
    Ok(seen)
}

fn receive_one(message: &Message) -> Result<Message, Violation> {
    match receive([&message.to_vec()[..]])?.pop() {
        Some(Seen::Message(message)) => Ok(message),
        other => panic!("no message: {other:?}"),
    }
}

/// Decodes a frame of a kind with nothing but a routing section.
fn decode(kind: Kind, routing: Bytes) -> Result<Message, Violation> {
    Message::decode(Frame { header: Header::new(kind, 1), routing, body: Body::default() })
}

/// A routing section of any fields, right or wrong.
fn section(fields: &[(FieldTag, &[u8])]) -> Bytes {
    let field = |(tag, value): &(FieldTag, &[u8])| {
        let len = u16::try_from(value.len()).unwrap().to_le_bytes();
        [&[tag.0], &len[..], value].concat()
    };
    fields.iter().flat_map(field).collect()
}

/// A trace context that fills up a call's section, except for `others` bytes and its own prefix.
fn trace(others: usize) -> Vec<u8> {
    vec![b'0'; usize::from(MAX_CALL_ROUTING) - others]
}

fn reply_of(len: u32) -> Message {
    let body = Bytes::from(vec![b'r'; len as usize]);
    Message::Reply(Reply { id: 9, encoding: Encoding::BYTES, body: body.into() })
}

fn call_of(len: u32) -> Message {
    let Message::Call(call) = call_with(&Routing::to("clock", "now").put(FieldTag::TRACE, b"00").build()) else {
        unreachable!()
    };
    Message::Call(Call { body: vec![b'c'; len as usize].into(), ..call })
}

fn call_with(routing: &Routing) -> Message {
    Message::Call(Call {
        id: 9,
        one_way: false,
        streams: ipc_protocol::Streams::NONE,
        encoding: Encoding::BYTES,
        timeout_ms: 1_000,
        caller: Bytes::new(),
        routing: routing.clone(),
        body: Body::default(),
    })
}

/// The stream in pieces of random length: one byte and a thousand are both likely.
fn pieces<'a>(stream: &'a [u8], random: &mut Random) -> Vec<&'a [u8]> {
    let mut rest = stream;
    std::iter::from_fn(|| {
        let magnitude = random.below(11);
        let (piece, behind) = rest.split_at((1 + random.below(1 << magnitude)).min(rest.len()));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
    .collect()
}

/// xorshift64: the same seed always gives the same test.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap() % limit
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }
}
