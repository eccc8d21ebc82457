//! Who offers which name.

use ipc_protocol::{ErrorCode, control};

use crate::world::{OWNER, Request, World, registration};

#[test]
fn a_registration_is_answered_before_the_first_call() {
    let mut w = World::new();
    let (svc, c) = (w.peer(OWNER), w.peer(OWNER));
    w.offer(svc, None, 1);
    w.clear_inbox(svc);
    let waiting = w.make(c, Request::ipc("wait", &wait_for("clock")));

    w.offer(svc, Some("clock"), 1);
    w.expect_reply(waiting);
    w.call(c, "clock", "", b"");

    assert!(matches!(w.inbox(svc)[..], [ipc_protocol::Message::Reply(_), ipc_protocol::Message::Call(_)]));
}

#[test]
fn a_registration_is_answered_with_the_peers_number() {
    let mut w = World::new();
    let svc = w.peer(OWNER);

    let registered: control::Registered = w.ask_as(svc, Request::register(&registration(Some("clock"), 1)));

    assert_eq!(registered.peer.0, w.number(svc));
}

#[test]
fn an_exclusive_name_has_one_holder_and_the_refusal_names_it() {
    let mut w = World::new();
    let (holder, other) = (w.service("clock"), w.peer(OWNER));

    let refused = w.register(other, Some("clock"), 1);

    let failure = w.expect_error(refused, ErrorCode::NAME_TAKEN);
    let expected = format!("'clock' is held by peer {} (pid 4000, user 1000, fake 1.0)", w.address(holder));
    assert_eq!(failure.text, expected);
}

#[test]
fn a_shared_name_cannot_be_held_exclusively() {
    let mut w = World::new();
    let (_svc, other) = (w.instance("pool", 1), w.peer(OWNER));

    let refused = w.register(other, Some("pool"), 1);

    assert!(w.expect_error(refused, ErrorCode::NAME_TAKEN).text.ends_with("register it as shared too"));
}

#[test]
fn an_exclusive_name_cannot_be_shared_later() {
    let mut w = World::new();
    let (_svc, other) = (w.service("clock"), w.peer(OWNER));

    let request = control::Register { shared: true, ..registration(Some("clock"), 1) };
    let refused = w.make(other, Request::register(&request));

    assert!(w.expect_error(refused, ErrorCode::NAME_TAKEN).text.ends_with("which does not share it"));
}

#[test]
fn the_brokers_own_names_cannot_be_registered() {
    let mut w = World::new();
    let svc = w.peer(OWNER);

    let own = w.register(svc, Some("ipc"), 1);
    let below = w.register(svc, Some("ipc.clock"), 1);
    let beside = w.register(svc, Some("ipcx"), 1);

    w.expect_safe(own, ErrorCode::DENIED);
    w.expect_safe(below, ErrorCode::DENIED);
    w.expect_reply(beside);
}

#[test]
fn a_connection_offers_a_limited_number_of_names() {
    let mut w = World::with_limits(|limits| limits.names_per_peer = 2);
    let svc = w.peer(OWNER);
    w.offer(svc, Some("one"), 1);
    w.offer(svc, None, 1);

    let refused = w.register(svc, Some("three"), 1);

    w.expect_safe(refused, ErrorCode::BUSY);
    w.unregister(svc, Some("one"));
    w.offer(svc, Some("three"), 1);
}

#[test]
fn a_malformed_name_is_invalid() {
    let mut w = World::new();
    let svc = w.peer(OWNER);

    let refused = w.ipc(svc, "register", r#"{"name":"Not A Name"}"#);

    assert!(w.expect_error(refused, ErrorCode::INVALID).text.contains("name"));
}

#[test]
fn an_empty_registration_has_a_window_of_one() {
    let mut w = World::new();
    let (svc, c) = (w.peer(OWNER), w.peer(OWNER));
    w.make(svc, Request { body: b"{}".to_vec(), ..Request::register(&registration(None, 1)) });
    let address = w.address(svc);

    w.call(c, &address, "", b"first");
    w.call(c, &address, "", b"second");

    assert_eq!(w.take_bodies(svc), ["first"]);
}

#[test]
fn a_name_is_free_once_its_holder_is_gone() {
    let mut w = World::new();
    let (first, second) = (w.service("clock"), w.peer(OWNER));

    w.disconnect(first);

    w.offer(second, Some("clock"), 1);
}

#[test]
fn running_calls_finish_after_their_name_was_taken_back() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    let running = w.call(c, "clock", "", b"");
    let delivered = w.next_call(svc);

    let done = w.unregister(svc, Some("clock"));

    w.expect_reply(done);
    let late = w.call(c, "clock", "", b"");
    w.expect_safe(late, ErrorCode::NO_SERVICE);
    w.reply(&delivered, b"12:00");
    w.expect_reply(running);
    w.end();
}

#[test]
fn running_calls_end_with_a_service_that_took_its_name_back() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    let running = w.call(c, "clock", "", b"");
    w.unregister(svc, Some("clock"));

    w.disconnect(svc);

    w.expect_unknown(running, ErrorCode::SERVICE_GONE);
}

#[test]
fn queued_calls_end_when_the_name_is_taken_back() {
    let mut w = World::new();
    let (svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    w.call(c, "clock", "", b"");
    let waiting = w.call(c, "clock", "", b"");

    w.unregister(svc, Some("clock"));

    w.expect_safe(waiting, ErrorCode::SERVICE_GONE);
}

#[test]
fn queued_calls_stay_for_the_other_instance_when_one_takes_the_name_back() {
    let mut w = World::new();
    let (one, two, c) = (w.instance("pool", 1), w.instance("pool", 1), w.peer(OWNER));
    let _running = [(); 2].map(|()| w.call(c, "pool", "", b"runs"));
    let waiting = w.call(c, "pool", "", b"waits");

    w.unregister(one, Some("pool"));

    w.expect_no_end(waiting);
    w.reply_next(two, b"");
    assert_eq!(w.take_bodies(two), ["waits"]);
}

#[test]
fn a_name_can_be_offered_again_while_old_calls_run() {
    let mut w = World::new();
    let (svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    let old = w.call(c, "clock", "", b"old");
    w.unregister(svc, Some("clock"));

    w.offer(svc, Some("clock"), 1);
    let new = w.call(c, "clock", "", b"new");

    w.reply_next(svc, b"");
    w.reply_next(svc, b"");
    w.expect_reply(old);
    w.expect_reply(new);
    w.end();
}

#[test]
fn a_name_that_is_not_offered_cannot_be_taken_back() {
    let mut w = World::new();
    let (_holder, other) = (w.service("clock"), w.peer(OWNER));

    let foreign = w.unregister(other, Some("clock"));
    let anonymous = w.unregister(other, None);

    w.expect_safe(foreign, ErrorCode::NO_SERVICE);
    w.expect_safe(anonymous, ErrorCode::NO_SERVICE);
}

#[test]
fn a_registration_without_an_answer_is_invalid() {
    let mut w = World::new();
    let svc = w.peer(OWNER);

    let refused = w.make(svc, Request::register(&registration(Some("clock"), 1)).one_way());

    w.expect_safe(refused, ErrorCode::INVALID);
}

#[test]
fn a_registration_in_an_unknown_encoding_is_refused() {
    let mut w = World::new();
    let svc = w.peer(OWNER);

    let request = Request { encoding: ipc_protocol::Encoding::BINCODE, ..Request::to("ipc", "register") };
    let refused = w.make(svc, request);

    w.expect_safe(refused, ErrorCode::UNSUPPORTED_ENCODING);
}

#[test]
fn a_request_as_an_array_is_invalid() {
    let mut w = World::new();
    let svc = w.peer(OWNER);

    let refused = w.make(svc, Request::to("ipc", "register").body(br#"["clock", 1]"#));

    w.expect_error(refused, ErrorCode::INVALID);
}

fn wait_for(name: &str) -> control::Wait {
    control::Wait { name: name.parse().unwrap(), gone: false, target: false }
}
