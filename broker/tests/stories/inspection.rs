//! What the broker says about itself.

use ipc_protocol::{
    ErrorCode, MethodName,
    control::{List, Names, PeerPage, Peers, Register, Show, Shown},
};

use crate::world::{OWNER, Peer, Request, World, registration};

#[test]
fn names_are_listed_in_order_and_in_pages() {
    let mut w = World::with_limits(|limits| limits.names_per_peer = 100);
    let svc = w.peer(OWNER);
    (0..70).rev().for_each(|at| w.offer(svc, Some(&format!("name-{at:02}")), 1));

    let first: Names = w.ask(svc, "list", &List::default());
    let second: Names = w.ask(svc, "list", &List { after: first.next.clone(), ..List::default() });
    let third: Names = w.ask(svc, "list", &List { after: second.next.clone(), ..List::default() });

    let names: Vec<_> = [&first, &second, &third].into_iter().flat_map(|page| &page.names).collect();
    assert!(names.is_sorted());
    assert_eq!(names.len(), 70);
    assert_eq!((first.names.len(), second.names.len(), third.next), (32, 32, None));
}

#[test]
fn a_page_that_holds_the_last_name_is_the_last() {
    let mut w = World::new();
    let svc = w.peer(OWNER);
    (0..32).for_each(|at| w.offer(svc, Some(&format!("name-{at:02}")), 1));

    let page: Names = w.ask(svc, "list", &List::default());

    assert_eq!((page.names.len(), page.next), (32, None));
}

#[test]
fn a_pattern_filters_the_names() {
    let mut w = World::new();
    let svc = w.peer(OWNER);
    ["a.x", "a.y", "a.y.z", "b.x"].iter().for_each(|name| w.offer(svc, Some(name), 1));

    let page: Names = w.ask(svc, "list", &List { pattern: Some("a.*".parse().unwrap()), after: None });

    assert_eq!(page.names.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.x", "a.y"]);
}

#[test]
fn peers_are_listed_by_age_and_in_pages() {
    let mut w = World::new();
    let peers: Vec<Peer> = (0..40).map(|_| w.peer(OWNER)).collect();
    w.disconnect(peers[3]);

    let first: PeerPage = w.ask(peers[0], "peers", &Peers::default());
    let second: PeerPage = w.ask(peers[0], "peers", &Peers { after: first.next });

    let numbers: Vec<_> = first.peers.iter().chain(&second.peers).map(|row| row.peer.0).collect();
    assert!(numbers.is_sorted() && !numbers.contains(&4));
    assert_eq!((numbers.len(), first.peers.len(), second.next), (39, 32, None));
}

#[test]
fn a_peer_is_shown_with_what_it_does() {
    let mut w = World::new();
    let (svc, c) = (w.service("clock"), w.peer(OWNER));
    w.call(c, "clock", "", b"");
    w.advance(1_500);

    let page: PeerPage = w.ask(c, "peers", &Peers::default());

    let (of_svc, of_c) = (&page.peers[0], &page.peers[1]);
    assert_eq!((of_svc.uid, of_svc.gid, of_svc.pid), (OWNER, OWNER + 1, Some(4_000)));
    assert_eq!((&*of_svc.agent, of_svc.names[0].as_str()), ("fake 1.0", "clock"));
    assert_eq!((of_svc.in_flight, of_svc.pending, of_c.in_flight, of_c.pending), (1, 0, 0, 1));
    assert_eq!(of_svc.connected_ms, 1_500);
    assert_eq!(w.number(svc), of_svc.peer.0);
}

#[test]
fn a_name_is_shown_with_its_instances() {
    let mut w = World::new();
    let (one, two, c) = (w.instance("pool", 1), w.instance("pool", 2), w.peer(OWNER));
    w.call_each(c, "pool", ["1", "2", "3", "4"]);

    let shown: Shown = w.ask(c, "show", &show("pool"));

    assert_eq!((shown.name.as_str(), shown.shared, shown.queued, shown.calls), ("pool", true, 1, 3));
    assert_eq!(shown.instances.len(), 2);
    let (first, second) = (&shown.instances[0], &shown.instances[1]);
    assert_eq!((first.peer.0, first.window, first.in_flight), (w.number(one), 1, 1));
    assert_eq!((second.peer.0, second.window, second.in_flight), (w.number(two), 2, 2));
}

#[test]
fn a_name_is_shown_with_the_methods_of_all_its_instances() {
    let mut w = World::new();
    let c = w.peer(OWNER);
    let (one, two) = (w.peer(OWNER), w.peer(OWNER));
    w.make(one, with_methods("pool", ["b", "a"].map(str::to_owned)));
    w.make(two, with_methods("pool", ["c", "a"].map(str::to_owned)));

    let shown: Shown = w.ask(c, "show", &show("pool"));

    assert_eq!(shown.methods.iter().map(MethodName::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn an_unknown_name_is_not_shown() {
    let mut w = World::new();
    let c = w.peer(OWNER);

    let call = w.make(c, Request::ipc("show", &show("nobody")));

    w.expect_safe(call, ErrorCode::NO_SERVICE);
}

#[test]
fn a_registration_with_too_many_methods_is_refused() {
    let mut w = World::new();
    let svc = w.peer(OWNER);

    let refused = w.make(svc, with_methods("big", (0..2_000).map(|at| format!("method-{at}"))));

    w.expect_safe(refused, ErrorCode::INVALID);
    w.offer(svc, Some("big"), 1);
}

#[test]
fn a_name_with_very_many_methods_is_shown_in_part() {
    let mut w = World::new();
    let c = w.peer(OWNER);
    (0..240).for_each(|instance| offer_methods(&mut w, instance));

    let shown: Shown = w.ask(c, "show", &show("big"));

    assert!((4..32).contains(&shown.instances.len()), "{} instances", shown.instances.len());
    assert_eq!(shown.methods.len(), shown.instances.len() * 250);
    assert!(length(&shown) <= SHORT, "{} bytes", length(&shown));
}

#[test]
fn a_page_of_peers_with_long_names_is_short_and_none_is_left_out() {
    let mut w = World::new();
    let peers: Vec<Peer> = (0..8).map(|_| w.peer(OWNER)).collect();
    for (at, peer) in peers.iter().enumerate() {
        (0..64).for_each(|name| w.offer(*peer, Some(&format!("{}-{at}-{name:02}", "x".repeat(240))), 1));
    }

    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page: PeerPage = w.ask(peers[0], "peers", &Peers { after });
        assert!(length(&page) <= SHORT, "{} bytes", length(&page));
        seen.extend(page.peers.iter().map(|row| row.peer.0));
        after = page.next;
        if after.is_none() {
            break;
        }
    }

    assert_eq!(seen, peers.iter().map(|peer| w.number(*peer)).collect::<Vec<_>>());
}

#[test]
fn a_pattern_finds_its_names_among_very_many_others() {
    let mut w = World::with_limits(|limits| limits.names_per_peer = 1_000);
    let svc = w.peer(OWNER);
    (0..300).for_each(|at| w.offer(svc, Some(&format!("a.n{at:03}")), 1));
    ["b.x", "c.x", "bc.x"].iter().for_each(|name| w.offer(svc, Some(name), 1));
    let list = |pattern: &str, after: Option<&str>| List {
        pattern: Some(pattern.parse().unwrap()),
        after: after.map(|name| name.parse().unwrap()),
    };

    let below: Names = w.ask(svc, "list", &list("b.", None));
    let behind: Names = w.ask(svc, "list", &list("b.", Some("b.x")));
    let before: Names = w.ask(svc, "list", &list("b.", Some("a.n299")));

    assert_eq!(below.names.iter().map(ToString::to_string).collect::<Vec<_>>(), ["b.x"]);
    assert_eq!((below.next, behind.names.len(), before.names), (None, 0, below.names));
}

/// The length of an answer as it is sent.
fn length(answer: &impl serde::Serialize) -> usize {
    serde_json::to_vec(answer).unwrap().len()
}

/// The longest page.
const SHORT: usize = 64 * 1024;

#[test]
fn a_peer_with_very_many_names_is_shown_with_the_first_ones() {
    let mut w = World::with_limits(|limits| limits.names_per_peer = 100);
    let svc = w.peer(OWNER);
    (0..100).for_each(|at| w.offer(svc, Some(&format!("name-{at:02}")), 1));

    let page: PeerPage = w.ask(svc, "peers", &Peers::default());

    assert_eq!(page.peers[0].names.len(), 64);
}

#[test]
fn registrations_are_charged_to_their_user() {
    let mut w = World::new();
    let svc = w.peer(OWNER);
    let before = w.bytes_held();
    w.make(svc, with_methods("one", ["method".repeat(20)]));

    let held = w.bytes_held();
    w.unregister(svc, Some("one"));

    assert!(held > before + 300, "{held}");
    assert_eq!(w.bytes_held(), before);
}

#[test]
fn counters_say_what_happened() {
    let mut w = World::new();
    let (svc, c) = (w.worker("clock", 1), w.peer(OWNER));
    let _calls = [(); 2].map(|()| w.call(c, "clock", "", b""));
    w.reply_next(svc, b"");
    w.call(c, "nobody", "", b"");

    assert_eq!((w.stat(c, "connections"), w.stat(c, "names"), w.stat(c, "calls_pending")), (2, 1, 1));
    assert_eq!((w.stat(c, "calls_delivered"), w.stat(c, "calls_queued"), w.stat(c, "replies")), (2, 1, 1));
    assert_eq!(w.stat(c, "errors_no_service"), 1);
}

#[test]
fn limits_show_their_value_use_and_peak() {
    let mut w = World::new();
    let (first, c) = (w.peer(OWNER), w.peer(OWNER));
    w.disconnect(first);
    let row = w.limit(c, "connections_per_uid");
    assert_eq!((row.value, row.used, row.peak), (512, Some(1), Some(2)));

    let svc = w.service("clock");
    let _calls = [(); 3].map(|()| w.call(c, "clock", "", b""));

    assert_eq!(w.limit(svc, "calls_per_caller").used, Some(3));
    assert_eq!(w.limit(svc, "calls_per_service").used, Some(3));
    assert_eq!(w.limit(svc, "names_per_peer").used, Some(1));
    assert_eq!(w.limit(svc, "body_bytes").used, None);
}

#[test]
fn unread_bytes_show_in_the_limits() {
    let mut w = World::new();
    let (svc, stopped, c) = (w.service("echo"), w.peer(OWNER), w.peer(OWNER));
    w.let_pile_up(stopped, svc, 10_000);

    assert_eq!(w.limit(c, "unread_hard_bytes").used, Some(10_192));
    assert!(w.limit(c, "bytes_total").used >= Some(10_192));
    assert!(w.limit(c, "bytes_per_uid").peak >= Some(10_192));
}

#[test]
fn an_invalid_request_is_refused_with_the_member_named() {
    let mut w = World::new();
    let c = w.peer(OWNER);

    let call = w.ipc(c, "list", r#"{"after":7}"#);

    assert!(w.expect_error(call, ErrorCode::INVALID).text.contains("after"));
}

#[test]
fn unknown_members_are_skipped() {
    let mut w = World::new();
    let c = w.peer(OWNER);

    let call = w.ipc(c, "ping", r#"{"from":"the future"}"#);

    w.expect_reply(call);
}

fn show(name: &str) -> Show {
    Show { name: name.parse().unwrap() }
}

/// Registers another instance of "big", with 250 methods of its own.
fn offer_methods(w: &mut World, instance: u32) {
    let peer = w.peer(OWNER);
    let ticket = w.make(peer, with_methods("big", (0..250).map(|at| format!("method-{instance}-{at}"))));
    w.expect_reply(ticket);
}

fn with_methods(name: &str, methods: impl IntoIterator<Item = String>) -> Request {
    let methods = methods.into_iter().map(|method| method.parse().unwrap()).collect();
    Request::register(&Register { shared: true, methods, ..registration(Some(name), 1) })
}

#[test]
fn a_pattern_that_matches_nothing_is_looked_for_in_pages() {
    let mut w = World::new();
    for peer in 0..3 {
        let svc = w.peer(OWNER);
        (0..60).for_each(|at| w.offer(svc, Some(&format!("name-{peer:02}-{at:02}")), 1));
    }
    let c = w.peer(OWNER);

    let first: Names = w.ask(c, "list", &List { pattern: Some("*.other".parse().unwrap()), after: None });
    let rest: Names = w.ask(c, "list", &List { pattern: Some("*.other".parse().unwrap()), after: first.next.clone() });

    assert_eq!((first.names.len(), first.next.is_some()), (0, true), "180 names are too many for one look");
    assert_eq!((rest.names.len(), rest.next), (0, None));
}
