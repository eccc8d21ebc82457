//! Holds the code to docs/protocol.md: each hexdump byte for byte, each table row for row.
#![forbid(unsafe_code)]

mod document;

use std::{collections::BTreeSet, fmt::Write};

use bytes::Bytes;
use ipc_protocol::{
    Call, Cancel, Credit, Decoder, ERROR_TABLE, Element, Encoding, End, ErrorCode, Event, Failure, Features, FieldTag,
    Fingerprint, Flags, Gap, Goodbye, Header, Hello, Identity, Incoming, Kind, Message, MethodName, PeerNumber, Reply,
    Retry, Routing, ServiceName, Streams, Topic, Versions, Welcome, codec,
    control::{self, Operation, operation},
    limits,
};
use serde::Serialize;

use document::{frame, frames, number, table};

// ---- hexdumps

#[test]
fn each_message_is_encoded_as_the_document_shows() {
    let encoded: Vec<_> = session().into_iter().map(|(name, message)| (name, dump(&message.to_vec()))).collect();
    let documented: Vec<_> = frames().into_iter().map(|(name, bytes)| (name, dump(&bytes))).collect();
    assert_eq!(encoded, documented);
}

#[test]
fn each_hexdump_is_decoded_to_its_message() {
    let decoded: Vec<_> = frames().into_iter().map(|(name, bytes)| (name, decode(bytes))).collect();
    assert_eq!(decoded, session());
}

#[test]
fn the_stamp_of_the_delivered_call_is_read_back() {
    let Message::Call(call) = decode(frame("delivered")) else { panic!("not a call") };
    assert_eq!(Identity::from_stamp(&call.caller), Ok((caller(), Some(PeerNumber(7)))));
    assert_eq!((call.routing.service(), call.routing.method()), (&b"calc"[..], &b"add"[..]));
}

#[test]
fn the_bodies_of_the_registration_are_those_of_the_ipc_service() {
    let (Message::Call(call), Message::Reply(reply)) = (decode(frame("register")), decode(frame("registered"))) else {
        panic!("no call and reply")
    };
    let register: control::Register = codec::decode(call.encoding, &call.body).unwrap();
    let registered: control::Registered = codec::decode(reply.encoding, &reply.body).unwrap();
    let calc = ServiceName::parse("calc").ok();
    assert_eq!(
        register,
        control::Register { name: calc, window: 4, shared: false, streams: false, methods: vec![], description: None }
    );
    assert_eq!(registered, control::Registered { peer: PeerNumber(8) });
}

#[test]
fn the_one_way_body_is_bincode() {
    let Message::Call(call) = decode(frame("one_way")) else { panic!("not a call") };
    assert_eq!(codec::decode::<(i64, i64)>(call.encoding, &call.body).unwrap(), (1, -2));
}

// ---- tables

#[test]
fn the_header_table_is_the_header() {
    let documented: Vec<_> = table("Header", "offset").iter().map(|row| extent(row)).collect();
    let laid_out: Vec<_> = documented.iter().map(|(name, ..)| where_in_header(name)).collect();
    assert_eq!(documented, laid_out);
    assert_eq!(documented.iter().map(|(_, _, size)| size).sum::<usize>(), limits::HEADER_LEN);
}

#[test]
fn the_caller_table_is_the_stamp() {
    let offsets: Vec<_> = table("Caller", "offset").iter().map(|row| (row[2].clone(), number(&row[0]))).collect();
    let first_bytes = |stamp: Bytes| stamp[3..].iter().position(|byte| *byte != 0).map(|at| at as u64);
    let with = |set: fn(&mut Identity)| {
        let mut identity = Identity::default();
        set(&mut identity);
        first_bytes(identity.stamp(None)).unwrap()
    };
    let stamped = [
        ("uid", with(|identity| identity.uid = 1)),
        ("gid", with(|identity| identity.gid = 1)),
        ("pid", with(|identity| identity.pid = Some(1))),
        ("flags", with(|identity| identity.groups_incomplete = true)),
        ("process", with(|identity| identity.process = Some(1))),
        ("peer", first_bytes(Identity::default().stamp(Some(PeerNumber(1)))).unwrap()),
        ("groups", with(|identity| identity.groups = vec![1])),
    ];
    assert_eq!(offsets, stamped.map(|(name, at)| (name.to_owned(), at)));
}

#[test]
fn the_table_of_kinds_is_complete() {
    let known = (0..=u8::MAX).filter_map(|kind| Kind(kind).name().map(|name| (name.to_owned(), u64::from(kind))));
    assert_eq!(pairs("Kinds", "kind"), known.collect::<Vec<_>>());
}

#[test]
fn the_table_of_encodings_is_complete() {
    let known = (0..=u8::MAX).filter_map(|encoding| {
        let name = Encoding(encoding).name()?;
        Some((name.to_owned(), u64::from(encoding)))
    });
    assert_eq!(pairs("Bodies", "encoding"), known.collect::<Vec<_>>());
}

#[test]
fn the_table_of_flags_is_that_of_the_code() {
    let rows = table("Header", "bit");
    let documented: Vec<_> = rows.iter().map(|row| (row[2].as_str(), number(&row[1]))).collect();
    let known = [
        ("retry_safe", Flags::RETRY_SAFE),
        ("retained", Flags::RETAINED),
        ("delivered", Flags::DELIVERED),
        ("one_way", Flags::ONE_WAY),
        ("request_stream", Flags::REQUEST_STREAM),
        ("reply_stream", Flags::REPLY_STREAM),
        ("direct", Flags::DIRECT),
        ("body_in_fd", Flags::BODY_IN_FD),
    ];
    assert_eq!(documented, known.map(|(name, flag)| (name, u64::from(flag.0))));
    assert!(rows.iter().all(|row| 1 << number(&row[0]) == number(&row[1])));
}

#[test]
fn a_flag_is_understood_exactly_if_the_document_says_it_is_in_use() {
    let in_use = table("Header", "bit").into_iter().filter(|row| row[4].starts_with("in use"));
    let high_in_use: BTreeSet<_> = in_use.map(|row| number(&row[1])).filter(|value| *value > 0xFF).collect();
    let is_understood = |bit: &u64| Flags(u16::try_from(1_u64 << bit).unwrap()).not_understood() == Flags::NONE;
    assert_eq!((8..16).filter(is_understood).map(|bit| 1 << bit).collect::<BTreeSet<u64>>(), high_in_use);
    assert!((0..8).all(|bit| is_understood(&bit)));
}

#[test]
fn the_table_of_tags_is_that_of_the_code() {
    let rows = table("Routing section", "tag");
    let documented: Vec<_> = rows.iter().map(|row| (row[1].as_str(), number(&row[0]))).collect();
    let known = [
        ("CALLER", FieldTag::CALLER),
        ("SERVICE", FieldTag::SERVICE),
        ("METHOD", FieldTag::METHOD),
        ("TRACE", FieldTag::TRACE),
        ("TEXT", FieldTag::TEXT),
        ("FEATURES", FieldTag::FEATURES),
        ("VERSIONS", FieldTag::VERSIONS),
        ("AGENT", FieldTag::AGENT),
        ("PEER", FieldTag::PEER),
        ("MAX_BODY", FieldTag::MAX_BODY),
        ("CALL_DEFAULT", FieldTag::CALL_DEFAULT),
        ("CALL_MAX", FieldTag::CALL_MAX),
        ("TOPIC", FieldTag::TOPIC),
        ("SEQUENCE", FieldTag::SEQUENCE),
        ("COUNT", FieldTag::COUNT),
        ("FINGERPRINT", FieldTag::FINGERPRINT),
    ];
    assert_eq!(documented, known.map(|(name, tag)| (name, u64::from(tag.0))));
}

#[test]
fn unknown_tags_are_skipped_or_refused_as_the_document_says() {
    let must_be_understood = |tag: &u8| Routing::parse(Bytes::from(vec![*tag, 0, 0])).is_err();
    let ranges: Vec<_> =
        table("Routing section", "tags").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let skipped = |(tags, rule): &(String, String)| {
        let (first, last) = tags.split_once(" to ").unwrap();
        let must = rule.contains("must be understood");
        (first.parse::<u8>().unwrap()..=last.parse().unwrap()).all(|tag| must_be_understood(&tag) == must)
    };
    assert_eq!(ranges.len(), 3);
    assert!(ranges.iter().all(skipped));
}

#[test]
fn the_table_of_errors_is_the_table_of_the_code() {
    let known: Vec<_> = ERROR_TABLE
        .iter()
        .map(|row| {
            let json_rpc = row.json_rpc.map_or("–".to_owned(), |code| code.to_string());
            let [number, exit] = [row.code.0.to_string(), row.exit.to_string()];
            vec![number, row.name.into(), exit, json_rpc, row.may_have_run.to_string(), row.sentence.into()]
        })
        .collect();
    assert_eq!(table("Errors", "number"), known);
}

#[test]
fn the_table_of_limits_is_that_of_the_code() {
    let known = [
        ("HEADER_LEN", limits::HEADER_LEN as u64),
        ("MAX_ROUTING", limits::MAX_ROUTING.into()),
        ("MAX_CALL_ROUTING", limits::MAX_CALL_ROUTING.into()),
        ("MAX_BODY", limits::MAX_BODY.into()),
        ("MAX_NAME", limits::MAX_NAME as u64),
        ("MAX_TEXT", limits::MAX_TEXT as u64),
        ("MAX_GROUPS", limits::MAX_GROUPS as u64),
        ("MAX_FDS", limits::MAX_FDS as u64),
        ("MAX_DATAGRAM", limits::MAX_DATAGRAM as u64),
        ("DEFAULT_TIMEOUT_MS", limits::DEFAULT_TIMEOUT_MS.into()),
        ("MAX_TIMEOUT_MS", limits::MAX_TIMEOUT_MS.into()),
        ("MAX_SOCKET_PATH", limits::MAX_SOCKET_PATH as u64),
    ];
    assert_eq!(pairs("Limits", "limit"), known.map(|(name, value)| (name.to_owned(), value)));
}

#[test]
fn the_members_of_the_ipc_service_are_those_of_the_code() {
    let calc = || ServiceName::parse("calc").unwrap();
    let lock = Some(control::LockShown { places: 1, holders: vec![], waiting: vec![], waiters: 0 });
    let shown =
        control::Shown { name: calc(), shared: false, methods: vec![], queued: 0, calls: 0, instances: vec![], lock };
    let methods = vec![MethodName::default()];
    let register = control::Register {
        name: None,
        window: 1,
        shared: false,
        streams: false,
        methods,
        description: Some(Fingerprint(0)),
    };
    let pattern = "home.".parse().unwrap();
    let subscribe = control::Subscribe { pattern, policy: control::Keeping::DropOldest, queue: 1_024, last: false };
    let topics = control::TopicPage { topics: vec![], next: Topic::parse("home.temp").ok() };
    let names = control::Names { names: vec![], next: Some(calc()) };
    let peers = control::PeerPage { peers: vec![], next: Some(PeerNumber(1)) };
    let wait = control::Wait { name: calc(), gone: false, target: false };
    let empty = control::Empty {};
    let known = [
        row::<operation::Register>(&register, &control::Registered { peer: PeerNumber(1) }),
        row::<operation::Unregister>(&control::Unregister { name: None }, &empty),
        row::<operation::List>(&control::List::default(), &names),
        row::<operation::Show>(&control::Show { name: calc() }, &shown),
        row::<operation::Peers>(&control::Peers::default(), &peers),
        row::<operation::Stats>(&empty, &control::Stats { stats: vec![] }),
        row::<operation::Limits>(&empty, &control::Limits { limits: vec![] }),
        row::<operation::Wait>(&wait, &empty),
        row::<operation::Subscribe>(&subscribe, &control::Subscribed { subscription: 1 }),
        row::<operation::Unsubscribe>(&control::Unsubscribe { subscription: 1 }, &empty),
        row::<operation::Topics>(&control::Topics::default(), &topics),
        row::<operation::Lock>(&control::Lock { name: calc(), places: 1, wait: true }, &empty),
        row::<operation::Unlock>(&control::Unlock { name: calc() }, &empty),
        row::<operation::Ping>(&empty, &empty),
    ];
    assert_eq!(known.each_ref().map(|(name, ..)| name.as_str()), operation::NAMES);
    let documented: Vec<_> = table("The ipc service", "method")
        .into_iter()
        .map(|row| (row[0].clone(), documented_members(&row[1]), documented_members(&row[2])))
        .collect();
    assert_eq!(documented, known);
}

// ---- the session of the document

/// The messages behind the hexdumps, in the order of the document.
fn session() -> Vec<(String, Message)> {
    let calc_add = Routing::to("calc.add", "").build();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let noted = Routing::to("calc", "note").put(FieldTag::TRACE, trace.as_bytes()).build();
    let no_service = Failure::new(2, ErrorCode::NO_SERVICE, "no process offers 'clock'");
    let division = Failure {
        app_code: 17,
        encoding: Encoding::JSON,
        body: Bytes::from_static(br#"{"a":1}"#).into(),
        retry: Retry::Unknown,
        ..Failure::new(3, ErrorCode::APP_ERROR, "division by zero")
    };
    let text = "call ids must grow: 4 came after 5".to_owned();
    let gone = Failure { delivered: Some(2), ..Failure::new(6, ErrorCode::SERVICE_GONE, "the service has ended") };
    let session = [
        ("hello", Message::Hello(hello())),
        ("welcome", Message::Welcome(welcome())),
        ("register", call(1, Encoding::JSON, Routing::to("ipc", "register").build(), br#"{"name":"calc","window":4}"#)),
        ("registered", reply(1, Encoding::JSON, br#"{"peer":8}"#)),
        ("call", with_timeout(5_000, call(1, Encoding::JSON, calc_add, br#"{"a":1,"b":2}"#))),
        ("delivered", delivered()),
        ("reply", reply(258, Encoding::JSON, b"3")),
        ("forwarded", reply(1, Encoding::JSON, b"3")),
        ("error", Message::Error(no_service)),
        ("app_error", Message::Error(division)),
        ("one_way", one_way(call(4, Encoding::BINCODE, noted, &[2, 3]))),
        ("cancel", Message::Cancel(Cancel { id: 5, reason: ErrorCode::CANCELLED, delivered: None })),
        ("cancel_deadline", Message::Cancel(Cancel { id: 259, reason: ErrorCode::DEADLINE, delivered: None })),
        ("ping", Message::Ping(6)),
        ("pong", Message::Pong(6)),
        ("goodbye", Message::Goodbye(Goodbye { code: ErrorCode::PROTOCOL, text })),
        ("call_stream", streamed(call(6, Encoding::BYTES, Routing::to("store.put", "").build(), b""))),
        ("credit", Message::Credit(Credit { id: 6, delivered: false, items: 2, bytes: 65_536 })),
        ("credit_delivered", Message::Credit(Credit { id: 260, delivered: true, items: 2, bytes: 65_536 })),
        ("item", Message::Item(Element { id: 6, delivered: false, encoding: Encoding::BYTES, body: "first".into() })),
        ("end", Message::End(End::complete(6))),
        ("error_stream", Message::Error(gone)),
        ("event", Message::Event(event())),
        ("event_delivered", Message::Event(delivered_event())),
        ("gap", Message::Gap(Gap { id: (1 << 32) + 3, lost: 3 })),
        ("datagram", call(1, Encoding::BYTES, Routing::to("upper", "").build(), b"hi")),
        ("datagram_reply", reply(1, Encoding::BYTES, b"HI")),
    ];
    session.map(|(name, message)| (name.to_owned(), message)).into()
}

fn hello() -> Hello {
    Hello {
        versions: Versions { lowest: 1, highest: 1 },
        features: Features::default(),
        agent: "calc-client 1.0".into(),
    }
}

fn welcome() -> Welcome {
    Welcome {
        version: 1,
        features: Features::default(),
        peer: PeerNumber(7),
        max_body: 1_048_576,
        call_default_ms: 30_000,
        call_max_ms: 3_600_000,
        agent: "ipcd 0.1.0".into(),
    }
}

fn caller() -> Identity {
    let mut identity = Identity::new(1_000, 1_000);
    identity.pid = Some(4_242);
    identity.process = Some(0x11_2233_4455);
    identity.groups = vec![4, 24, 1_000];
    identity
}

fn delivered() -> Message {
    let routing = Routing::to("calc.add", "").build().retarget("calc", "add");
    let Message::Call(mut delivered) = call(258, Encoding::JSON, routing, br#"{"a":1,"b":2}"#) else { unreachable!() };
    delivered.caller = caller().stamp(Some(PeerNumber(7)));
    with_timeout(4_999, Message::Call(delivered))
}

fn call(id: u64, encoding: Encoding, routing: Routing, body: &'static [u8]) -> Message {
    let (caller, body) = (Bytes::new(), Bytes::from_static(body));
    let streams = Streams::NONE;
    Message::Call(Call { id, one_way: false, streams, encoding, timeout_ms: 0, caller, routing, body: body.into() })
}

fn with_timeout(timeout_ms: u32, message: Message) -> Message {
    let Message::Call(call) = message else { panic!("not a call") };
    Message::Call(Call { timeout_ms, ..call })
}

fn one_way(message: Message) -> Message {
    let Message::Call(call) = message else { panic!("not a call") };
    Message::Call(Call { one_way: true, ..call })
}

fn streamed(message: Message) -> Message {
    let Message::Call(call) = message else { panic!("not a call") };
    Message::Call(Call { streams: Streams { request: true, reply: false }, ..call })
}

fn event() -> Event {
    Event {
        id: 7,
        one_way: true,
        retained: true,
        encoding: Encoding::JSON,
        publisher: Bytes::new(),
        routing: Routing::on("home.temp").build(),
        body: "21.5".into(),
    }
}

fn delivered_event() -> Event {
    let stamp = caller().stamp(Some(PeerNumber(7)));
    let routing = event().routing.published(&stamp, Some(1));
    let delivered = Event { id: (1 << 32) + 3, one_way: false, routing, ..event() };
    let Message::Event(received) = decode(Message::Event(delivered).to_vec()) else { unreachable!() };
    received // as a client reads it, with the stamp apart
}

fn reply(id: u64, encoding: Encoding, body: &'static [u8]) -> Message {
    Message::Reply(Reply { id, encoding, body: Bytes::from_static(body).into() })
}

// ---- reading

fn first_frame(bytes: Vec<u8>) -> ipc_protocol::Frame {
    let mut decoder = Decoder::new(limits::MAX_BODY);
    decoder.feed(bytes.into());
    let Ok(Some(Incoming::Frame(frame))) = decoder.next() else { panic!("no frame") };
    assert_eq!(decoder.next(), Ok(None), "one frame and nothing behind it");
    assert!(!decoder.mid_frame());
    frame
}

fn decode(bytes: Vec<u8>) -> Message {
    Message::decode(first_frame(bytes)).unwrap()
}

/// A frame as the document's tables would call it, for messages of failed tests.
fn dump(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x} ").expect("a String takes everything");
        text
    })
}

/// Name and number of each row of a table.
fn pairs(section: &str, first_column: &str) -> Vec<(String, u64)> {
    table(section, first_column).into_iter().map(|row| (row[0].clone(), number(&row[1]))).collect()
}

/// Name, offset and size of a row of the header table.
fn extent(row: &[String]) -> (String, usize, usize) {
    let [offset, size] = [&row[0], &row[1]].map(|cell| usize::try_from(number(cell)).unwrap());
    (row[2].clone(), offset, size)
}

/// Name, offset and size of a field as the code lays it out: the bytes that differ once the field is all ones.
fn where_in_header(name: &str) -> (String, usize, usize) {
    let empty = Header::default();
    let full = match name {
        "magic" => return (name.into(), 0, usize::from(empty.to_bytes()[0] == 0xC1)),
        "reserved" => {
            return (name.into(), 7, usize::from(Header { id: u64::MAX, fds: u8::MAX, ..empty }.to_bytes()[7] == 0));
        }
        "version" => Header { version: u8::MAX, ..empty },
        "kind" => Header { kind: Kind(u8::MAX), ..empty },
        "encoding" => Header { encoding: Encoding(u8::MAX), ..empty },
        "flags" => Header { flags: Flags(u16::MAX), ..empty },
        "fds" => Header { fds: u8::MAX, ..empty },
        "id" => Header { id: u64::MAX, ..empty },
        "body_len" => Header { body_len: u32::MAX, ..empty },
        "routing_len" => Header { routing_len: u16::MAX, ..empty },
        "code" => Header { code: u16::MAX, ..empty },
        "time_ms" => Header { time_ms: u32::MAX, ..empty },
        "detail" => Header { detail: u32::MAX, ..empty },
        unknown => panic!("the code has no header field {unknown:?}"),
    };
    let differs: Vec<_> = (0..limits::HEADER_LEN).filter(|at| full.to_bytes()[*at] != empty.to_bytes()[*at]).collect();
    (name.into(), differs[0], differs.len())
}

/// Name, members of the request and members of the reply of an operation, as its types have them.
fn row<O: Operation>(request: &O::Request, answer: &O::Answer) -> (String, BTreeSet<String>, BTreeSet<String>) {
    (O::NAME.to_owned(), members(request), members(answer))
}

fn members(value: &impl Serialize) -> BTreeSet<String> {
    let serde_json::Value::Object(object) = serde_json::to_value(value).unwrap() else { panic!("no object") };
    object.keys().cloned().collect()
}

/// The members that a cell names: `name?`, `window?` = 1, ...
fn documented_members(cell: &str) -> BTreeSet<String> {
    let names = cell.split(',').map(|member| member.split('=').next().unwrap_or_default().trim().trim_end_matches('?'));
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
