//! Streams that no correct peer sends: the sender receives a reason and is cut, and no other peer notices.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use ipc_protocol::{
    ErrorCode, FieldTag, Flags, Header, Hello, Kind, Message, Retry, Routing, Versions, limits::MAX_BODY,
};
use ipc_tests::{
    broker::Broker,
    peer::{Peer, call, hello},
    proc,
    scene::Scene,
    siege::Siege,
};

use crate::offence::{header, offend, tell, told_after_hello, told_to};

// ---- other protocols

#[test]
fn a07_http_is_told_that_the_protocol_is_another() {
    assert!(told_to(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").contains("this is not the ipcd protocol"));
}

#[test]
fn a07_d_bus_is_told_that_the_protocol_is_another() {
    assert!(told_to(b"\0AUTH EXTERNAL 30\r\n").contains("this is not the ipcd protocol"));
}

#[test]
fn a07_tls_is_told_that_the_protocol_is_another() {
    assert!(told_to(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").contains("this is not the ipcd protocol"));
}

#[test]
fn a07_a_frame_of_a_future_version_is_refused_with_the_supported_version() {
    let text = told_to(&header(Kind::HELLO, |header| header.version = 2));
    assert_eq!(text, "version 2 is not supported here, only version 1");
}

#[test]
fn a07_a_client_of_only_future_versions_receives_both_ranges() {
    let hello = Hello { versions: Versions { lowest: 7, highest: 9 }, ..Hello::new("from the future") };
    let text = told_to(&Message::Hello(hello).to_vec());
    assert!(text.contains("speaks 1") && text.contains("7 to 9"), "{text}");
}

#[test]
fn a07_big_endian_lengths_are_refused_before_anything_is_stored() {
    let mut bytes = hello().to_vec();
    bytes[20..22].reverse();
    assert!(told_to(&bytes).contains("a routing section has at most 4096 bytes"));
}

// ---- frames that make no sense

#[test]
fn a04_a_gap_that_is_incomplete_is_a_violation() {
    assert!(told_after_hello(&header(Kind::GAP, |_| {})).contains("tag 15 is missing"));
}

#[test]
fn a04_a_kind_that_only_the_broker_sends_is_a_violation() {
    let gap = Message::Gap(ipc_protocol::Gap { id: 1, lost: 1 });
    assert!(told_after_hello(&gap.to_vec()).contains("gap is not expected here"));
}

#[test]
fn a04_an_unknown_kind_is_a_violation_and_prints_in_hexadecimal() {
    assert!(told_after_hello(&header(Kind(0xee), |_| {})).contains("0xee"));
}

#[test]
fn a04_an_unknown_flag_that_must_be_understood_is_a_violation() {
    assert!(
        told_after_hello(&header(Kind::PING, |header| header.flags = Flags(0x8000))).contains("must be understood")
    );
}

#[test]
fn a01_a_routing_section_over_the_limit_is_a_violation() {
    let text = told_after_hello(&header(Kind::CALL, |header| header.routing_len = u16::MAX));
    assert!(text.contains("65535"), "{text}");
}

#[test]
fn a04_a_call_without_a_destination_is_a_violation() {
    told_after_hello(&header(Kind::CALL, |_| {}));
}

#[test]
fn a06_a_call_to_an_impossible_name_is_refused_and_its_sender_lives() {
    let broker = Broker::start();
    let mut peer = Peer::connect(&broker);
    let long = [b'x'; 256];
    let names: [&[u8]; 9] = [b"", b"a..b", b".a", b"A", b"a*", b"a\0b", b"\xff\xfe", b"@0", &long];
    for (id, name) in (1..).zip(names) {
        peer.send_bytes(&call_of(id, name, b"add"));
        let failure = peer.failure();
        assert_eq!((failure.id, failure.code, failure.retry), (id, ErrorCode::INVALID, Retry::Safe), "{name:?}");
        assert!(failure.text.starts_with("bad service name: "), "{}", failure.text);
    }
    peer.send_bytes(&call_of(10, b"calc", b"a.b"));
    assert_eq!(peer.failure().text, "bad method name: a method is a single label, without a dot");
    peer.send_bytes(&call_of(10, b"A", b""));
    assert!(matches!(peer.receive(), Some(Message::Goodbye(_))), "its number has been used");
}

#[test]
fn a06_a_call_to_an_impossible_name_does_not_replace_hello() {
    assert!(told_to(&call_of(1, b"A", b"")).contains("the first frame must be hello"));
}

fn call_of(id: u64, service: &[u8], method: &[u8]) -> Vec<u8> {
    let section = [field(2, service), field(3, method)].concat();
    let routing_len = u16::try_from(section.len()).unwrap();
    [&Header { routing_len, ..Header::new(Kind::CALL, id) }.to_bytes()[..], &section].concat()
}

/// A field of a routing section.
fn field(tag: u8, value: &[u8]) -> Vec<u8> {
    [&[tag][..], &u16::try_from(value.len()).unwrap().to_le_bytes(), value].concat()
}

#[test]
fn a04_a_routing_field_longer_than_its_section_is_a_violation() {
    let mut bytes = header(Kind::CALL, |header| header.routing_len = 4);
    bytes.extend_from_slice(&[2, 255, 255, b'x']);
    told_after_hello(&bytes);
}

#[test]
fn a04_a_value_that_breaks_its_rule_reaches_no_service() {
    let mut scene = Scene::start();
    let mut service = Peer::connect(&scene.broker);
    service.register("strict", 1);
    let [text, features, agent] = [FieldTag::TEXT, FieldTag::FEATURES, FieldTag::AGENT].map(|tag| tag.0);
    for (tag, value) in [(text, &[b'x'; 2_049][..]), (text, b"\xff"), (features, b"1234567"), (agent, &[b'x'; 256])] {
        let mut offender = Peer::connect(&scene.broker);
        let section = [field(2, b"strict"), field(tag, value)].concat();
        let routing_len = u16::try_from(section.len()).unwrap();
        offender.send_bytes(&header(Kind::CALL, |header| header.routing_len = routing_len));
        offender.send_bytes(&section);
        assert_eq!(offender.goodbye().code, ErrorCode::PROTOCOL, "tag {tag}");
    }
    service.settle(); // what was delivered came before the answer to this
    drop(service);
    scene.nothing_is_left();
}

// ---- lengths that lie

#[test]
fn a01_a_body_that_is_announced_and_not_sent_costs_no_memory() {
    let mut scene = Scene::at(Broker::in_process("[limits]\nframe_ms = 400\n"));
    let pid = scene.broker.daemon().unwrap().pid();
    let before = proc::resident_kib(pid);
    let mut liars: Vec<Peer> = (0..30).map(|_| Peer::connect(&scene.broker)).collect();
    let lie = header(Kind::CALL, |header| (header.body_len, header.routing_len) = (MAX_BODY, 7));
    liars.iter_mut().for_each(|liar| liar.send_bytes(&lie));
    scene.bystanders_go_on();
    let grown = proc::resident_kib(pid).saturating_sub(before);
    assert!(grown < 10 * 1024, "30 MiB were announced, none came, and {grown} KiB were taken");

    let goodbyes: Vec<_> = liars.iter_mut().map(Peer::goodbye).collect();
    assert!(goodbyes.iter().all(|goodbye| goodbye.text.contains("the rest of a frame did not come")), "{goodbyes:?}");
    scene.nothing_is_left();
}

#[test]
fn a01_a_call_over_the_limit_is_refused_and_its_sender_lives() {
    let mut scene = Scene::start();
    let mut sender = Peer::connect(&scene.broker);
    sender.send_bytes(&header(Kind::CALL, |header| header.body_len = MAX_BODY + 1));
    let failure = sender.failure();
    assert_eq!((failure.code, failure.retry), (ErrorCode::TOO_LARGE, Retry::Safe));

    let mut rest = vec![0; MAX_BODY as usize + 1];
    rest.extend_from_slice(&Message::Ping(9).to_vec());
    sender.send_bytes(&rest);
    assert_eq!(sender.receive(), Some(Message::Pong(9)), "the body was skipped");
    drop(sender);
    scene.nothing_is_left();
}

#[test]
fn a01_four_gibibytes_are_refused_before_they_arrive() {
    let mut scene = Scene::start();
    let mut sender = Peer::connect(&scene.broker);
    sender.send_bytes(&header(Kind::CALL, |header| header.body_len = u32::MAX));
    assert_eq!(sender.failure().code, ErrorCode::TOO_LARGE);
    drop(sender);
    scene.nothing_is_left();
}

#[test]
fn a01_a_long_body_in_a_frame_without_one_is_a_violation() {
    told_after_hello(&header(Kind::PING, |header| header.body_len = MAX_BODY + 1));
}

// ---- every way to cut and glue

#[test]
fn a02_a_session_cut_anywhere_has_the_same_trace() {
    let broker = Broker::start();
    let session = session();
    let expected = trace(&broker, |stream, _| stream.write_all(&session).unwrap());
    assert_eq!(expected, [0, 1, 2, 3, 9]);
    for at in 1..session.len() {
        let cut = trace(&broker, |stream, other| {
            stream.write_all(&session[..at]).unwrap();
            other.settle(); // ensures that the broker has read the first part
            stream.write_all(&session[at..]).unwrap();
        });
        assert_eq!(cut, expected, "cut at byte {at}");
    }
}

#[test]
fn a02_a_session_that_comes_byte_by_byte_has_the_same_trace() {
    let broker = Broker::start();
    let cut = trace(&broker, |stream, other| {
        for byte in session() {
            stream.write_all(&[byte]).unwrap();
            other.settle();
        }
    });
    assert_eq!(cut, [0, 1, 2, 3, 9]);
}

/// A session: hello, three calls and a ping.
fn session() -> Vec<u8> {
    let calls = (1..=3).map(|id| Message::Call(call(id, "ipc.ping", "{}")).to_vec());
    [vec![hello().to_vec()], calls.collect(), vec![Message::Ping(9).to_vec()]].concat().concat()
}

/// The numbers of the messages received.
fn trace(broker: &Broker, write: impl FnOnce(&mut UnixStream, &mut Peer)) -> Vec<u64> {
    let mut other = Peer::connect(broker);
    let mut stream = UnixStream::connect(broker.socket()).unwrap();
    write(&mut stream, &mut other);
    let mut peer = Peer::on(stream);
    let number = |message| match message {
        Some(Message::Welcome(_)) => 0,
        Some(Message::Reply(reply)) => reply.id,
        Some(Message::Pong(id)) => id,
        other => panic!("{other:?}"),
    };
    (0..5).map(|_| number(peer.receive())).collect()
}

#[test]
fn a04_a_private_routing_field_reaches_the_service_untouched() {
    let broker = Broker::start();
    let (mut service, mut caller) = (Peer::connect(&broker), Peer::connect(&broker));
    service.register("echo", 1);
    let routing = Routing::to("echo", "").put(FieldTag(100), b"\0\xff").build();
    caller.send(&Message::Call(ipc_protocol::Call { routing, ..call(1, "echo", "") }));
    assert_eq!(service.delivered().routing.field(FieldTag(100)), Some(&b"\0\xff"[..]));
}

#[test]
fn a07_nothing_follows_a_goodbye() {
    let mut scene = Scene::start();
    let mut stranger = Peer::open(&scene.broker);
    stranger.send_bytes(b"QUIT\n");
    let mut rest = Vec::new();
    stranger.stream().read_to_end(&mut rest).unwrap();
    assert_eq!(rest.first(), Some(&0xc1), "even a stranger gets one whole frame");
    drop(stranger);
    scene.nothing_is_left();
}

// ---- again and again, beside a steady caller

#[test]
fn a01_lying_lengths_delay_no_peer() {
    let mut siege = Siege::with_config("[limits]\nframe_ms = 300\n");
    let lies = [
        header(Kind::CALL, |header| (header.body_len, header.routing_len) = (u32::MAX, 7)),
        header(Kind::CALL, |header| header.body_len = MAX_BODY),
        header(Kind::CALL, |header| header.routing_len = u16::MAX),
        header(Kind::PING, |header| header.body_len = MAX_BODY + 1),
    ];
    siege.endure(|broker| lies.iter().for_each(|lie| offend(broker, lie)));
    siege.lift();
}

#[test]
fn a02_bytes_that_come_one_by_one_delay_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let mut stream = UnixStream::connect(broker.socket()).unwrap();
        session().iter().for_each(|byte| stream.write_all(&[*byte]).unwrap());
        let mut peer = Peer::on(stream);
        (0..5).for_each(|_| assert!(peer.receive().is_some()));
    });
    siege.lift();
}

#[test]
fn a04_no_value_of_any_byte_of_a_call_harms_another_peer() {
    let mut siege = Siege::with_config("[limits]\nframe_ms = 300\n");
    let good = Message::Call(call(1, "nobody", "{}")).to_vec();
    let mut wrong = (0..good.len()).flat_map(|at| [0, 1, 2, 0x7f, 0x80, 0xff].map(|value| (at, value))).cycle();
    siege.endure(|broker| {
        for (at, value) in wrong.by_ref().take(good.len()) {
            let mut bytes = good.clone();
            bytes[at] = value;
            tell(broker, &bytes);
        }
    });
    siege.lift();
}

#[test]
fn a05_deeply_nested_bodies_are_not_the_brokers_business() {
    let mut siege = Siege::lay();
    let nested = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let object = [b"{\"name\":".repeat(50_000), b"1".to_vec()].concat();
    let (mut service, mut caller) = (Peer::connect(siege.broker()), Peer::connect(siege.broker()));
    service.register("deep", 1);
    let id = caller.call("deep", nested.clone());
    service.echo();
    assert_eq!(caller.reply(), (id, nested.clone().into()));
    siege.endure(|broker| {
        let mut liar = Peer::connect(broker);
        for body in [&nested, &object] {
            liar.call("ipc.register", body.clone());
            assert_eq!(liar.failure().code, ErrorCode::INVALID);
        }
    });
    drop((service, caller));
    siege.lift();
}

#[test]
fn a06_impossible_names_delay_no_peer_and_forge_no_line_of_the_log() {
    let mut siege = Siege::lay();
    let name = b"x\nevent=stopped\x1b[2J";
    siege.endure(|broker| {
        let mut liar = Peer::connect(broker);
        liar.send_bytes(&call_of(1, name, b"add"));
        assert_eq!(liar.failure().code, ErrorCode::INVALID);
        liar.send_bytes(&call_of(2, b"nobody", name));
        assert_eq!(liar.failure().code, ErrorCode::INVALID);
    });
    let log = std::fs::read_to_string(siege.broker().directory().join("ipcd.log")).unwrap();
    assert!(!log.contains('\x1b') && !log.contains("\nevent=stopped"), "{log}");
    siege.lift();
}

#[test]
fn a07_other_protocols_delay_no_peer() {
    let mut siege = Siege::lay();
    let greetings: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\n\r\n", b"\0AUTH EXTERNAL 30\r\n", b"\x16\x03\x01\x02\0", b"SUB news 1\r\n"];
    siege.endure(|broker| {
        for greeting in greetings {
            let mut stranger = Peer::open(broker);
            let _ = stranger.try_send_bytes(greeting);
            assert_eq!(stranger.goodbye().code, ErrorCode::PROTOCOL);
        }
    });
    siege.lift();
}
