//! Locks between processes.

use ipc_protocol::{ErrorCode, control};

use crate::world::{OWNER, Peer, Request, Ticket, World};

impl World {
    fn lock(&mut self, peer: Peer, name: &str) -> Ticket {
        self.make(peer, Request::lock(&wanted(name, 1)))
    }

    fn unlock(&mut self, peer: Peer, name: &str) -> Ticket {
        self.make(peer, Request::unlock(name))
    }

    /// A peer that holds a lock.
    fn holder(&mut self, name: &str) -> Peer {
        let peer = self.peer(OWNER);
        let lock = self.lock(peer, name);
        self.expect_reply(lock);
        peer
    }
}

fn wanted(name: &str, places: u32) -> control::Lock {
    control::Lock { name: name.parse().unwrap(), places, wait: true }
}

#[test]
fn a_free_lock_is_taken_at_once() {
    let mut w = World::new();
    let c = w.peer(OWNER);

    let lock = w.lock(c, "job");

    assert_eq!(w.expect_reply(lock).body, &b"{}"[..]);
    w.end();
}

#[test]
fn a_lock_goes_to_those_who_wait_in_order_of_arrival() {
    let mut w = World::new();
    let (first, second, third) = (w.holder("job"), w.peer(OWNER), w.peer(OWNER));
    let (of_second, of_third) = (w.lock(second, "job"), w.lock(third, "job"));
    w.expect_no_end(of_second);

    w.unlock(first, "job");

    w.expect_reply(of_second);
    w.expect_no_end(of_third);
    w.unlock(second, "job");
    w.expect_reply(of_third);
    w.end();
}

#[test]
fn a_lock_is_released_with_the_connection_of_its_holder() {
    let mut w = World::new();
    let (holder, next) = (w.holder("job"), w.peer(OWNER));
    let lock = w.lock(next, "job");

    w.disconnect(holder);

    w.expect_reply(lock);
    w.end();
}

#[test]
fn a_holder_that_breaks_the_protocol_loses_its_lock() {
    let mut w = World::new();
    let (holder, next) = (w.holder("job"), w.peer(OWNER));
    let lock = w.lock(next, "job");

    w.send(holder, ipc_protocol::Message::Hello(ipc_protocol::Hello::new("again")));

    w.expect_reply(lock);
    w.end();
}

#[test]
fn one_who_has_gone_is_passed_over() {
    let mut w = World::new();
    let (holder, gone, next) = (w.holder("job"), w.peer(OWNER), w.peer(OWNER));
    w.lock(gone, "job");
    let lock = w.lock(next, "job");
    w.disconnect(gone);
    w.expect_no_end(lock);

    w.unlock(holder, "job");

    w.expect_reply(lock);
    w.end();
}

#[test]
fn one_who_has_cancelled_is_passed_over_and_may_ask_again() {
    let mut w = World::new();
    let (holder, hasty, next) = (w.holder("job"), w.peer(OWNER), w.peer(OWNER));
    let (first, lock) = (w.lock(hasty, "job"), w.lock(next, "job"));
    w.cancel(first);
    w.expect_safe(first, ErrorCode::CANCELLED);
    let again = w.lock(hasty, "job");

    w.unlock(holder, "job");

    w.expect_reply(lock);
    w.expect_no_end(again);
    w.unlock(next, "job");
    w.expect_reply(again);
    w.end();
}

#[test]
fn a_wait_for_a_lock_ends_at_its_deadline() {
    let mut w = World::new();
    let (holder, late) = (w.holder("job"), w.peer(OWNER));
    let lock = w.make(late, Request::lock(&wanted("job", 1)).within(100));

    w.advance(100);

    w.expect_safe(lock, ErrorCode::DEADLINE);
    w.unlock(holder, "job");
    let lock = w.lock(late, "job");
    w.expect_reply(lock);
    w.end();
}

#[test]
fn one_who_does_not_wait_is_told_who_holds_it() {
    let mut w = World::new();
    let (holder, c) = (w.holder("job"), w.peer(OWNER));

    let refused = w.make(c, Request::lock(&control::Lock { wait: false, ..wanted("job", 1) }));

    let failure = w.expect_error(refused, ErrorCode::BUSY);
    assert!(failure.text.contains(&format!("peer {} ", w.address(holder))), "{}", failure.text);
    w.expect_safe(refused, ErrorCode::BUSY);
    w.end();
}

#[test]
fn a_lock_with_places_has_that_many_holders() {
    let mut w = World::new();
    let peers = [(); 3].map(|()| w.peer(OWNER));

    let [one, two, three] = peers.map(|peer| w.make(peer, Request::lock(&wanted("job", 2))));

    w.expect_reply(one);
    w.expect_reply(two);
    w.expect_no_end(three);
    w.unlock(peers[1], "job");
    w.expect_reply(three);
    w.end();
}

#[test]
fn all_must_name_the_same_number_of_places() {
    let mut w = World::new();
    let (_holder, c) = (w.holder("job"), w.peer(OWNER));

    let refused = w.make(c, Request::lock(&wanted("job", 2)));

    let failure = w.expect_error(refused, ErrorCode::INVALID);
    assert!(failure.text.starts_with("places: "), "{}", failure.text);
}

#[test]
fn a_lock_that_nobody_holds_may_have_other_places_next_time() {
    let mut w = World::new();
    let holder = w.holder("job");
    w.unlock(holder, "job");

    let lock = w.make(holder, Request::lock(&wanted("job", 2)));

    w.expect_reply(lock);
}

#[test]
fn a_peer_does_not_wait_for_itself() {
    let mut w = World::new();
    let (holder, waiter) = (w.holder("job"), w.peer(OWNER));
    let waiting = w.lock(waiter, "job");

    let [again, twice] = [holder, waiter].map(|peer| w.lock(peer, "job"));

    w.expect_safe(again, ErrorCode::INVALID);
    w.expect_safe(twice, ErrorCode::INVALID);
    w.unlock(holder, "job");
    w.expect_reply(waiting);
    w.end();
}

#[test]
fn only_the_holder_can_give_a_lock_back() {
    let mut w = World::new();
    let (_holder, waiter, other) = (w.holder("job"), w.peer(OWNER), w.peer(OWNER));
    let waiting = w.lock(waiter, "job");

    let refused = [waiter, other].map(|peer| w.unlock(peer, "job"));

    w.expect_safe(refused[0], ErrorCode::NO_SERVICE);
    w.expect_safe(refused[1], ErrorCode::NO_SERVICE);
    w.expect_no_end(waiting);
}

#[test]
fn a_lock_needs_a_connection_and_an_answer() {
    let mut w = World::new();
    let c = w.peer(OWNER);

    let one_way = w.make(c, Request::lock(&wanted("job", 1)).one_way());
    let datagram = w.datagram(OWNER, Some("there"), Request::lock(&wanted("job", 1)));
    let unlock = w.datagram(OWNER, Some("there"), Request::unlock("job"));

    [one_way, datagram, unlock].into_iter().for_each(|refused| w.expect_safe(refused, ErrorCode::INVALID));
    let lock = w.lock(c, "job");
    w.expect_reply(lock);
}

#[test]
fn the_names_of_the_broker_itself_are_not_locked() {
    let mut w = World::new();
    let c = w.peer(OWNER);

    let refused = w.lock(c, "ipc.job");

    w.expect_safe(refused, ErrorCode::DENIED);
}

#[test]
fn a_stranger_takes_no_lock() {
    let mut w = World::new();
    let stranger = w.peer(1001);

    let refused = w.lock(stranger, "job");

    w.expect_error(refused, ErrorCode::DENIED);
    w.end();
}

#[test]
fn a_peer_has_a_limited_number_of_locks() {
    let mut w = World::with_limits(|limits| limits.locks_per_peer = 2);
    let (_holder, c) = (w.holder("a"), w.peer(OWNER));
    let (_waits, _holds) = (w.lock(c, "a"), w.lock(c, "b"));

    let refused = w.lock(c, "c");

    w.expect_safe(refused, ErrorCode::BUSY);
    let row = w.limit(c, "locks_per_peer");
    assert_eq!((row.used, row.peak), (Some(2), Some(2)));
    w.unlock(c, "b");
    let lock = w.lock(c, "c");
    w.expect_reply(lock);
}

#[test]
fn waits_for_locks_count_among_the_calls_of_their_caller() {
    let mut w = World::with_limits(|limits| limits.calls_per_caller = 1);
    let (_holder, other, c) = (w.holder("a"), w.holder("b"), w.peer(OWNER));
    let waiting = w.lock(c, "a");

    let refused = w.lock(c, "b");

    w.expect_safe(refused, ErrorCode::BUSY);
    w.expect_no_end(waiting);
    w.expect_open(other);
}

#[test]
fn locks_are_charged_to_their_holders_and_to_those_who_wait() {
    let mut w = World::new();
    let (one, two) = (w.peer(OWNER), w.peer(OWNER));
    let idle = w.bytes_held();
    w.lock(one, "job");
    let held = w.bytes_held();
    let waiting = w.lock(two, "job");
    assert!(idle < held && held < w.bytes_held());

    w.disconnect(one);
    w.expect_reply(waiting);
    w.unlock(two, "job");

    assert!(w.bytes_held() < idle, "one of the two has gone");
    w.end();
}

#[test]
fn a_user_whose_share_is_full_gets_no_lock() {
    let mut w = World::with_limits(|limits| limits.bytes_per_uid = 2_000);
    let c = w.peer(OWNER);

    let locks = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| w.lock(c, name));

    w.expect_reply(locks[0]);
    w.expect_safe(locks[7], ErrorCode::BUSY);
    w.end();
}

#[test]
fn show_tells_who_holds_a_lock_and_who_waits() {
    let mut w = World::new();
    let (holder, waiter) = (w.holder("job"), w.peer(OWNER));
    w.lock(waiter, "job");

    let shown: control::Shown = w.ask(holder, "show", &serde_json::json!({ "name": "job" }));

    let lock = shown.lock.unwrap();
    let numbers = |peers: &[control::LockWaiter]| peers.iter().map(|peer| peer.peer.0).collect::<Vec<_>>();
    assert_eq!((shown.instances.len(), lock.places, lock.waiters), (0, 1, 1));
    assert_eq!(numbers(&lock.holders), [w.number(holder)]);
    assert_eq!(numbers(&lock.waiting), [w.number(waiter)]);
}

#[test]
fn a_lock_and_a_service_of_the_same_name_are_two_things() {
    let mut w = World::new();
    let svc = w.service("job");
    let holder = w.holder("job");

    let shown: control::Shown = w.ask(holder, "show", &serde_json::json!({ "name": "job" }));

    assert_eq!((shown.instances.len(), shown.lock.unwrap().holders.len()), (1, 1));
    w.disconnect(svc);
    w.unlock(holder, "job");
    let gone = w.ipc(holder, "show", r#"{"name":"job"}"#);
    w.expect_error(gone, ErrorCode::NO_SERVICE);
}

#[test]
fn a_broker_that_stops_gives_no_more_locks_and_leaves_those_that_are_held() {
    let mut w = World::new();
    let (holder, waiter) = (w.holder("job"), w.peer(OWNER));
    let waiting = w.lock(waiter, "job");

    w.drain();

    w.expect_safe(waiting, ErrorCode::UNAVAILABLE);
    let late = w.lock(waiter, "other");
    w.expect_safe(late, ErrorCode::UNAVAILABLE);
    let unlock = w.unlock(holder, "job");
    w.expect_reply(unlock);
    assert!(w.is_drained());
}

#[test]
fn locks_and_their_lines_survive_a_handover() {
    let mut w = World::new();
    let (holder, waiter) = (w.holder("job"), w.peer(OWNER));
    let waiting = w.lock(waiter, "job");

    w.hand_over();

    w.expect_no_end(waiting);
    w.disconnect(holder);
    w.expect_reply(waiting);
    w.end();
}

#[test]
fn a_peer_that_has_finished_sending_holds_a_lock_until_it_has_what_it_waits_for() {
    let mut w = World::new();
    let (holder, ended, next) = (w.holder("job"), w.peer(OWNER), w.peer(OWNER));
    let (waiting, lock) = (w.lock(ended, "job"), w.lock(next, "job"));
    w.end_sending(ended);

    w.unlock(holder, "job");

    w.expect_reply(waiting);
    w.expect_reply(lock);
    w.end();
}
