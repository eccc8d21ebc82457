//! Streams that no correct peer sends: the sender receives a reason and is cut, and no other peer notices.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::{fd::AsRawFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use bytes::Bytes;
use ipc_protocol::{
    Encoding, ErrorCode, Flags, Header, Hello, Kind, Message, Reply, Retry, Routing, Versions, limits::MAX_BODY,
};
use ipc_tests::{
    broker::{AT_ONCE, Broker},
    peer::{Peer, call, hello},
    proc,
    scene::Scene,
};
use nix::sys::socket::{MsgFlags, send};

/// The goodbye to a stranger whose first bytes are these. Checks that nothing else happens.
#[track_caller]
fn told_to(first_bytes: &[u8]) -> String {
    told(Peer::open, first_bytes)
}

/// The goodbye to a welcomed peer that sends these bytes. Checks that nothing else happens.
#[track_caller]
fn told_after_hello(bytes: &[u8]) -> String {
    told(Peer::connect, bytes)
}

#[track_caller]
fn told(peer_of: fn(&Broker) -> Peer, bytes: &[u8]) -> String {
    let mut scene = Scene::start();
    let mut offender = peer_of(&scene.broker);
    offender.send_bytes(bytes);
    let goodbye = offender.goodbye();
    assert_eq!(goodbye.code, ErrorCode::PROTOCOL);
    scene.nothing_is_left();
    goodbye.text
}

fn header(kind: Kind, change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut header = Header::new(kind, 1);
    change(&mut header);
    header.to_bytes().to_vec()
}

// ---- other protocols

#[test]
fn http_is_told_that_the_protocol_is_another() {
    assert!(told_to(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").contains("this is not the ipcd protocol"));
}

#[test]
fn d_bus_is_told_that_the_protocol_is_another() {
    assert!(told_to(b"\0AUTH EXTERNAL 30\r\n").contains("this is not the ipcd protocol"));
}

#[test]
fn tls_is_told_that_the_protocol_is_another() {
    assert!(told_to(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").contains("this is not the ipcd protocol"));
}

#[test]
fn a_json_line_is_refused() {
    let mut scene = Scene::start();
    let mut stranger = Peer::open(&scene.broker);
    stranger.send_bytes(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ipc.ping\"}\n");
    assert_eq!(stranger.goodbye().code, ErrorCode::PROTOCOL);
    scene.nothing_is_left();
}

#[test]
fn a_frame_of_a_future_version_is_refused_with_the_supported_version() {
    let text = told_to(&header(Kind::HELLO, |header| header.version = 2));
    assert_eq!(text, "version 2 is not supported here, only version 1");
}

#[test]
fn a_client_of_only_future_versions_receives_both_ranges() {
    let hello = Hello { versions: Versions { lowest: 7, highest: 9 }, ..Hello::new("from the future") };
    let text = told_to(&Message::Hello(hello).to_vec());
    assert!(text.contains("speaks 1") && text.contains("7 to 9"), "{text}");
}

#[test]
fn big_endian_lengths_are_refused_before_anything_is_stored() {
    let mut bytes = hello().to_vec();
    bytes[20..22].reverse();
    assert!(told_to(&bytes).contains("a routing section has at most 4096 bytes"));
}

// ---- frames that make no sense

#[test]
fn a_first_frame_that_is_not_hello_is_a_violation() {
    assert!(told_to(&Message::Ping(1).to_vec()).contains("the first frame must be hello"));
}

#[test]
fn a_second_hello_is_a_violation() {
    assert!(told_after_hello(&hello().to_vec()).contains("hello is not expected here"));
}

#[test]
fn a_frame_that_only_the_broker_sends_is_a_violation() {
    let routing = Bytes::copy_from_slice(&hello().to_vec()[32..]);
    let mut welcome = header(Kind::WELCOME, |header| header.routing_len = u16::try_from(routing.len()).unwrap());
    welcome.extend_from_slice(&routing);
    told_after_hello(&welcome);
}

#[test]
fn a_reserved_kind_is_a_violation() {
    assert!(told_after_hello(&header(Kind(6), |_| {})).contains("not known here"));
}

#[test]
fn an_unknown_kind_is_a_violation_and_prints_in_hexadecimal() {
    assert!(told_after_hello(&header(Kind(0xee), |_| {})).contains("0xee"));
}

#[test]
fn an_unknown_flag_that_must_be_understood_is_a_violation() {
    assert!(
        told_after_hello(&header(Kind::PING, |header| header.flags = Flags(0x8000))).contains("must be understood")
    );
}

#[test]
fn a_routing_section_over_the_limit_is_a_violation() {
    let text = told_after_hello(&header(Kind::CALL, |header| header.routing_len = u16::MAX));
    assert!(text.contains("65535"), "{text}");
}

#[test]
fn a_call_without_a_destination_is_a_violation() {
    told_after_hello(&header(Kind::CALL, |_| {}));
}

#[test]
fn a_call_to_an_impossible_name_is_refused_and_its_sender_lives() {
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
fn a_call_to_an_impossible_name_does_not_replace_hello() {
    assert!(told_to(&call_of(1, b"A", b"")).contains("the first frame must be hello"));
}

fn call_of(id: u64, service: &[u8], method: &[u8]) -> Vec<u8> {
    let field =
        |tag: u8, value: &[u8]| [&[tag][..], &u16::try_from(value.len()).unwrap().to_le_bytes(), value].concat();
    let section = [field(2, service), field(3, method)].concat();
    let routing_len = u16::try_from(section.len()).unwrap();
    [&Header { routing_len, ..Header::new(Kind::CALL, id) }.to_bytes()[..], &section].concat()
}

#[test]
fn a_routing_field_longer_than_its_section_is_a_violation() {
    let mut bytes = header(Kind::CALL, |header| header.routing_len = 4);
    bytes.extend_from_slice(&[2, 255, 255, b'x']);
    told_after_hello(&bytes);
}

#[test]
fn a_forged_caller_is_a_violation() {
    let mut forged = call(1, "bystander", "");
    forged.caller = ipc_protocol::Identity::new(0, 0).stamp(None);
    told_after_hello(&Message::Call(forged).to_vec());
}

#[test]
fn a_repeated_call_id_is_a_violation() {
    let ping = |id| Message::Call(call(id, "ipc.ping", "")).to_vec();
    let mut scene = Scene::start();
    let mut offender = Peer::connect(&scene.broker);
    offender.send_bytes(&[ping(5), ping(5)].concat());
    assert_eq!(offender.reply().0, 5);
    assert_eq!(offender.goodbye().text, "call ids must grow: 5 came after 5");
    scene.nothing_is_left();
}

#[test]
fn a_call_id_of_zero_is_a_violation() {
    assert!(told_after_hello(&Message::Call(call(0, "ipc.ping", "")).to_vec()).contains("call ids must grow"));
}

#[test]
fn the_greatest_call_id_is_answered() {
    let broker = Broker::start();
    let mut peer = Peer::connect(&broker);
    peer.send(&Message::Call(call(u64::MAX, "ipc.ping", "")));
    assert_eq!(peer.reply().0, u64::MAX);
}

// ---- lengths that lie

#[test]
fn a_body_that_is_announced_and_not_sent_costs_no_memory() {
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
fn a_call_over_the_limit_is_refused_and_its_sender_lives() {
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
fn four_gibibytes_are_refused_before_they_arrive() {
    let mut scene = Scene::start();
    let mut sender = Peer::connect(&scene.broker);
    sender.send_bytes(&header(Kind::CALL, |header| header.body_len = u32::MAX));
    assert_eq!(sender.failure().code, ErrorCode::TOO_LARGE);
    drop(sender);
    scene.nothing_is_left();
}

#[test]
fn a_long_body_in_a_frame_without_one_is_a_violation() {
    told_after_hello(&header(Kind::PING, |header| header.body_len = MAX_BODY + 1));
}

// ---- too slow

#[test]
fn a_peer_that_never_says_hello_is_cut() {
    let mut scene = Scene::with_config("[limits]\nhello_ms = 200\n");
    let mut silent = Peer::open(&scene.broker);
    assert!(silent.goodbye().text.contains("hello did not come"));
    scene.nothing_is_left();
}

#[test]
fn half_a_header_does_not_replace_hello() {
    let mut scene = Scene::with_config("[limits]\nhello_ms = 200\n");
    let mut slow = Peer::open(&scene.broker);
    slow.send_bytes(&hello().to_vec()[..16]);
    assert!(slow.goodbye().text.contains("hello did not come"));
    scene.nothing_is_left();
}

#[test]
fn hundreds_of_unfinished_hellos_make_no_peer_wait() {
    let mut scene = Scene::with_config("[limits]\nhello_ms = 1500\n");
    let mut slow: Vec<Peer> = (0..500).map(|_| Peer::open(&scene.broker)).collect();
    slow.iter_mut().for_each(|peer| peer.send_bytes(&hello().to_vec()[..40]));
    scene.bystanders_go_on();
    slow.iter_mut().for_each(|peer| assert!(peer.goodbye().text.contains("hello did not come")));
    scene.nothing_is_left();
}

#[test]
fn an_unfinished_frame_cuts_its_sender() {
    let mut scene = Scene::with_config("[limits]\nframe_ms = 200\n");
    let mut slow = Peer::connect(&scene.broker);
    slow.send_bytes(&Message::Ping(1).to_vec()[..31]);
    assert!(slow.goodbye().text.contains("the rest of a frame did not come"));
    scene.nothing_is_left();
}

#[test]
fn silence_between_frames_cuts_no_peer() {
    let mut scene = Scene::with_config("[limits]\nframe_ms = 100\nhello_ms = 100\n");
    let mut quiet = Peer::connect(&scene.broker);
    let mut silent = Peer::open(&scene.broker);
    let mut slow = Peer::connect(&scene.broker);
    slow.send_bytes(&[0xc1]);
    silent.goodbye(); // both time limits have passed for some peer
    slow.goodbye();
    quiet.settle();
    drop(quiet);
    scene.nothing_is_left();
}

// ---- every way to cut and glue

#[test]
fn a_session_cut_anywhere_has_the_same_trace() {
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
fn a_session_that_comes_byte_by_byte_has_the_same_trace() {
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

// ---- sockets used in odd ways

#[test]
fn out_of_band_data_harms_no_peer() {
    let mut scene = Scene::at(Broker::in_process(""));
    let mut odd = Peer::connect(&scene.broker);
    let _ = send(odd.stream().as_raw_fd(), b"!", MsgFlags::MSG_OOB | MsgFlags::MSG_NOSIGNAL);
    scene.bystanders_go_on();
    idles(&mut scene);
    // The kernel may or may not deliver the byte in the stream. Either way it isn't a frame, and the connection ends cleanly.
    let _ = odd.try_send_bytes(&Message::Ping(1).to_vec());
    drop(odd);
    scene.nothing_is_left();
}

#[test]
fn an_empty_write_does_nothing() {
    let mut scene = Scene::start();
    let mut odd = Peer::connect(&scene.broker);
    odd.send_with(b"", &[]).unwrap();
    odd.settle();
    drop(odd);
    scene.nothing_is_left();
}

#[test]
fn a_peer_that_has_finished_sending_still_receives_answers() {
    let mut scene = Scene::start();
    let (mut service, mut caller) = (Peer::connect(&scene.broker), Peer::connect(&scene.broker));
    service.register("slow", 1);
    let id = caller.call("slow", "question");
    caller.stream().shutdown(Shutdown::Write).unwrap();
    let delivered = service.delivered();
    scene.bystanders_go_on();
    service.answer(&delivered, "answer");
    assert_eq!(caller.reply(), (id, "answer".into()));
    assert_eq!(caller.receive(), None, "it is closed once it has everything");
    drop(service);
    scene.nothing_is_left();
}

#[test]
fn a_peer_that_has_finished_sending_costs_no_cpu() {
    let mut scene = Scene::at(Broker::in_process(""));
    let (mut service, mut caller) = (Peer::connect(&scene.broker), Peer::connect(&scene.broker));
    service.register("slow", 1);
    caller.call_within("slow", "question", Duration::from_millis(600));
    caller.stream().shutdown(Shutdown::Write).unwrap();
    service.delivered();
    idles(&mut scene);
    assert_eq!(caller.failure().code, ErrorCode::DEADLINE);
    drop((service, caller));
    scene.nothing_is_left();
}

#[test]
fn a_service_that_has_finished_sending_is_gone() {
    let mut scene = Scene::start();
    let (mut service, mut caller) = (Peer::connect(&scene.broker), Peer::connect(&scene.broker));
    service.register("mute", 1);
    caller.call("mute", "");
    service.delivered();
    service.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(caller.failure().code, ErrorCode::SERVICE_GONE);
    drop((service, caller));
    scene.nothing_is_left();
}

/// Asserts that the broker uses almost no CPU time in half a second without traffic.
#[track_caller]
fn idles(scene: &mut Scene) {
    let pid = scene.broker.daemon().expect("a process").pid();
    let (start, before) = (Instant::now(), proc::cpu_ticks(pid));
    ipc_tests::eventually::eventually(AT_ONCE, "half a second", || start.elapsed() > Duration::from_millis(500));
    let used = proc::cpu_ticks(pid) - before;
    assert!(used <= 5, "{used} ticks of 10 ms in half a second in which nothing happened");
}

// ---- unexpected answers

#[test]
fn stray_replies_are_counted_until_their_sender_is_cut() {
    let mut scene = Scene::with_config("[limits]\nstray_replies = 3\n");
    let mut liar = Peer::connect(&scene.broker);
    let stray = Message::Reply(Reply { id: 4_711, encoding: Encoding::BYTES, body: Bytes::new().into() });
    (0..3).for_each(|_| liar.send(&stray));
    liar.settle();
    assert_eq!(scene.broker.stat("replies_stray"), 3);
    liar.send(&stray);
    assert_eq!(liar.goodbye().code, ErrorCode::PROTOCOL);
    scene.nothing_is_left();
}

#[test]
fn a_service_cannot_answer_for_another() {
    let mut scene = Scene::start();
    let [mut service, mut caller, mut liar] = [(); 3].map(|()| Peer::connect(&scene.broker));
    service.register("honest", 1);
    let id = caller.call("honest", "question");
    let delivered = service.delivered();
    liar.answer(&delivered, "lie");
    liar.settle();
    service.answer(&delivered, "truth");
    assert_eq!(caller.reply(), (id, "truth".into()));
    drop((service, caller, liar));
    scene.nothing_is_left();
}

#[test]
fn a_second_answer_to_a_call_is_dropped() {
    let mut scene = Scene::start();
    let (mut service, mut caller) = (Peer::connect(&scene.broker), Peer::connect(&scene.broker));
    service.register("eager", 1);
    let id = caller.call("eager", "");
    let delivered = service.delivered();
    service.answer(&delivered, "first");
    service.answer(&delivered, "second");
    service.settle();
    assert_eq!(caller.reply(), (id, "first".into()));
    caller.settle();
    assert_eq!(scene.broker.stat("replies_stray"), 1);
    drop((service, caller));
    scene.nothing_is_left();
}

#[test]
fn a_private_routing_field_reaches_the_service_untouched() {
    let broker = Broker::start();
    let (mut service, mut caller) = (Peer::connect(&broker), Peer::connect(&broker));
    service.register("echo", 1);
    let routing = Routing::to("echo", "").put(ipc_protocol::FieldTag(100), b"\0\xff").build();
    caller.send(&Message::Call(ipc_protocol::Call { routing, ..call(1, "echo", "") }));
    assert_eq!(service.delivered().routing.field(ipc_protocol::FieldTag(100)), Some(&b"\0\xff"[..]));
}

#[test]
fn nothing_follows_a_goodbye() {
    let mut scene = Scene::start();
    let mut stranger = Peer::open(&scene.broker);
    stranger.send_bytes(b"QUIT\n");
    let mut rest = Vec::new();
    stranger.stream().read_to_end(&mut rest).unwrap();
    assert_eq!(rest.first(), Some(&0xc1), "even a stranger gets one whole frame");
    drop(stranger);
    scene.nothing_is_left();
}
