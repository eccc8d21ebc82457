//! The beginning of a connection, and its limits.

use ipc_protocol::{Call, ErrorCode, Features, Hello, Message, Streams, Versions};

use crate::world::{OWNER, World};

#[test]
fn hello_is_answered_with_the_peers_own_number() {
    let mut w = World::new();
    let first = w.peer(OWNER);
    let second = w.peer(OWNER);

    let [Message::Welcome(welcome)] = &w.inbox(second)[..] else { panic!("no welcome") };
    assert_eq!((welcome.version, welcome.max_body), (1, 1_048_576));
    assert_eq!((w.number(first), w.number(second)), (1, 2));
}

#[test]
fn welcome_states_the_deadlines_that_the_broker_keeps() {
    let mut w = World::with_limits(|limits| {
        limits.call_default_ms = 90_000;
        limits.call_max_ms = 60_000;
    });

    let peer = w.peer(OWNER);

    let [Message::Welcome(welcome)] = &w.inbox(peer)[..] else { panic!("no welcome") };
    assert_eq!((welcome.call_default_ms, welcome.call_max_ms), (60_000, 60_000));
}

#[test]
fn peer_numbers_are_never_reused() {
    let mut w = World::new();
    let first = w.peer(OWNER);
    w.disconnect(first);

    let second = w.peer(OWNER);

    assert_eq!(w.number(second), 2);
}

#[test]
fn features_that_one_side_lacks_are_not_granted() {
    let mut w = World::new();
    let peer = w.stranger(OWNER);

    w.send(peer, Message::Hello(Hello { features: Features(u64::MAX), ..Hello::new("new") }));

    let [Message::Welcome(welcome)] = &w.inbox(peer)[..] else { panic!("no welcome") };
    assert_eq!(welcome.features, Features::SUPPORTED);
}

#[test]
fn a_peer_whose_first_frame_is_not_hello_is_cut() {
    let mut w = World::new();
    let peer = w.stranger(OWNER);

    w.send(peer, Message::Ping(1));

    w.expect_cut(peer, "the first frame must be hello, found ping");
}

#[test]
fn a_peer_that_says_hello_twice_is_cut() {
    let mut w = World::new();
    let peer = w.peer(OWNER);

    w.send(peer, Message::Hello(Hello::new("again")));

    w.expect_cut(peer, "hello is not expected here");
}

#[test]
fn a_peer_without_a_common_version_receives_both_ranges() {
    let mut w = World::new();
    let peer = w.stranger(OWNER);

    w.send(peer, Message::Hello(Hello { versions: Versions { lowest: 2, highest: 9 }, ..Hello::new("later") }));

    w.expect_cut(peer, "this side speaks 1, the other side 2 to 9");
}

#[test]
fn a_peer_that_sends_what_only_the_broker_may_is_cut() {
    let mut w = World::new();
    let (peer, other) = (w.peer(OWNER), w.peer(OWNER));
    let [welcome] = &w.inbox(other)[..] else { panic!("no welcome") };

    w.send(peer, welcome.clone());

    w.expect_cut(peer, "welcome is not expected here");
    w.expect_open(other);
}

#[test]
fn a_connection_without_hello_is_cut_at_the_deadline() {
    let mut w = World::new();
    let (silent, talking) = (w.stranger(OWNER), w.peer(OWNER));

    w.advance(4_999);
    w.expect_open(silent);
    w.advance(1);

    w.expect_cut(silent, "hello did not come within 5 s");
    w.expect_open(talking);
}

#[test]
fn a_ping_is_answered_after_everything_sent_before_it() {
    let mut w = World::new();
    let c = w.peer(OWNER);
    w.clear_inbox(c);

    w.ipc(c, "ping", "");
    w.send(c, Message::Ping(7));

    assert!(matches!(w.inbox(c)[..], [Message::Reply(_), Message::Pong(7)]));
}

#[test]
fn a_goodbye_changes_nothing() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    let call = w.call(c, "clock", "", b"");

    w.send(c, Message::Goodbye(ipc_protocol::Goodbye { code: ErrorCode(0), text: String::new() }));

    w.reply_next(svc, b"12:00");
    w.expect_reply(call);
}

#[test]
fn calls_sent_with_hello_are_answered_after_welcome() {
    let mut w = World::new();
    let peer = w.stranger(OWNER);
    w.pause_reading(peer);
    w.send(peer, Message::Hello(Hello::new("hasty")));
    w.ipc(peer, "ping", "");

    w.resume_reading(peer);

    assert!(matches!(w.inbox(peer)[..], [Message::Welcome(_), Message::Reply(_)]));
}

#[test]
fn a_call_without_hello_is_not_accepted() {
    let mut w = World::new();
    let (svc, stranger) = (w.service("clock"), w.stranger(OWNER));

    w.send(
        stranger,
        Message::Call(Call {
            id: 1,
            one_way: true,
            streams: Streams::NONE,
            encoding: ipc_protocol::Encoding::BYTES,
            timeout_ms: 0,
            caller: bytes::Bytes::new(),
            routing: ipc_protocol::Routing::to("clock", "").build(),
            body: bytes::Bytes::new().into(),
        }),
    );

    w.expect_cut(stranger, "must be hello");
    w.expect_no_call(svc);
}

#[test]
fn a_user_has_a_limited_number_of_connections() {
    let mut w = World::with_limits(|limits| limits.connections_per_uid = 2);
    let (first, _) = (w.peer(OWNER), w.peer(OWNER));

    let refused = w.connect(OWNER).unwrap_err();

    assert_eq!(refused.code, ErrorCode::BUSY);
    w.peer(0);
    w.disconnect(first);
    w.peer(OWNER);
}

#[test]
fn strangers_leave_room_for_root_and_the_owner() {
    let mut w = World::with_limits(|limits| {
        limits.connections = 4;
        limits.connections_reserved = 2;
    });
    w.peer(1001);
    w.peer(1002);

    let refused = w.connect(1003).unwrap_err();

    assert_eq!(refused.code, ErrorCode::BUSY);
    w.peer(0);
    w.peer(OWNER);
    assert!(w.connect(0).is_err());
}

#[test]
fn refused_connections_are_logged_and_counted() {
    let mut w = World::with_limits(|limits| limits.connections_per_uid = 1);
    let c = w.peer(OWNER);

    w.connect(OWNER).unwrap_err();

    w.expect_logged("event=refused uid=1000");
    assert_eq!(w.stat(c, "connections_refused"), 1);
    assert_eq!(w.stat(c, "connections_accepted"), 1);
}
