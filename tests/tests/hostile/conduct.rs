//! Peers that are too slow, use numbers and answers that are not theirs, or use their socket in odd ways (A3, A8, A9, A10).

use std::{
    net::Shutdown,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ipc_protocol::{Encoding, ErrorCode, Kind, Message, Reply};
use ipc_tests::{
    broker::{AT_ONCE, Broker},
    peer::{Peer, call, hello},
    proc,
    scene::Scene,
    siege::Siege,
};
use nix::sys::socket::{MsgFlags, send};

use crate::offence::{header, told_after_hello, told_to};

// ---- too slow

#[test]
fn a03_a_peer_that_never_says_hello_is_cut() {
    let mut scene = Scene::with_config("[limits]\nhello_ms = 200\n");
    let mut silent = Peer::open(&scene.broker);
    assert!(silent.goodbye().text.contains("hello did not come"));
    scene.nothing_is_left();
}

#[test]
fn a03_half_a_header_does_not_replace_hello() {
    let mut scene = Scene::with_config("[limits]\nhello_ms = 200\n");
    let mut slow = Peer::open(&scene.broker);
    slow.send_bytes(&hello().to_vec()[..16]);
    assert!(slow.goodbye().text.contains("hello did not come"));
    scene.nothing_is_left();
}

#[test]
fn a03_hundreds_of_unfinished_hellos_make_no_peer_wait() {
    let mut scene = Scene::with_config("[limits]\nhello_ms = 1500\n");
    let mut slow: Vec<Peer> = (0..500).map(|_| Peer::open(&scene.broker)).collect();
    slow.iter_mut().for_each(|peer| peer.send_bytes(&hello().to_vec()[..40]));
    scene.bystanders_go_on();
    slow.iter_mut().for_each(|peer| assert!(peer.goodbye().text.contains("hello did not come")));
    scene.nothing_is_left();
}

#[test]
fn a03_an_unfinished_frame_cuts_its_sender() {
    let mut scene = Scene::with_config("[limits]\nframe_ms = 200\n");
    let mut slow = Peer::connect(&scene.broker);
    slow.send_bytes(&Message::Ping(1).to_vec()[..31]);
    assert!(slow.goodbye().text.contains("the rest of a frame did not come"));
    scene.nothing_is_left();
}

#[test]
fn a03_silence_between_frames_cuts_no_peer() {
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

// ---- numbers and frames that are not theirs

#[test]
fn a08_a_repeated_call_id_is_a_violation() {
    let ping = |id| Message::Call(call(id, "ipc.ping", "")).to_vec();
    let mut scene = Scene::start();
    let mut offender = Peer::connect(&scene.broker);
    offender.send_bytes(&[ping(5), ping(5)].concat());
    assert_eq!(offender.reply().0, 5);
    assert_eq!(offender.goodbye().text, "call ids must grow: 5 came after 5");
    scene.nothing_is_left();
}

#[test]
fn a08_a_call_id_of_zero_is_a_violation() {
    assert!(told_after_hello(&Message::Call(call(0, "ipc.ping", "")).to_vec()).contains("call ids must grow"));
}

#[test]
fn a08_the_greatest_call_id_is_answered() {
    let broker = Broker::start();
    let mut peer = Peer::connect(&broker);
    peer.send(&Message::Call(call(u64::MAX, "ipc.ping", "")));
    assert_eq!(peer.reply().0, u64::MAX);
}

#[test]
fn a09_a_first_frame_that_is_not_hello_is_a_violation() {
    assert!(told_to(&Message::Ping(1).to_vec()).contains("the first frame must be hello"));
}

#[test]
fn a09_a_second_hello_is_a_violation() {
    assert!(told_after_hello(&hello().to_vec()).contains("hello is not expected here"));
}

#[test]
fn a09_a_frame_that_only_the_broker_sends_is_a_violation() {
    let routing = Bytes::copy_from_slice(&hello().to_vec()[32..]);
    let mut welcome = header(Kind::WELCOME, |header| header.routing_len = u16::try_from(routing.len()).unwrap());
    welcome.extend_from_slice(&routing);
    told_after_hello(&welcome);
}

// ---- sockets used in odd ways

#[test]
fn a10_out_of_band_data_harms_no_peer() {
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
fn a10_an_empty_write_does_nothing() {
    let mut scene = Scene::start();
    let mut odd = Peer::connect(&scene.broker);
    odd.send_with(b"", &[]).unwrap();
    odd.settle();
    drop(odd);
    scene.nothing_is_left();
}

#[test]
fn a10_a_peer_that_has_finished_sending_still_receives_answers() {
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
fn a10_a_peer_that_has_finished_sending_costs_no_cpu() {
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
fn a10_a_service_that_has_finished_sending_is_gone() {
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
fn a09_stray_replies_are_counted_until_their_sender_is_cut() {
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
fn a09_a_service_cannot_answer_for_another() {
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
fn a09_a_second_answer_to_a_call_is_dropped() {
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

// ---- again and again, beside a steady caller

#[test]
fn a03_hundreds_of_half_hellos_delay_no_peer() {
    let mut siege = Siege::with_config("[limits]\nhello_ms = 300\n");
    siege.endure(|broker| {
        let mut slow: Vec<Peer> = (0..200).map(|_| Peer::open(broker)).collect();
        slow.iter_mut().for_each(|peer| peer.send_bytes(&hello().to_vec()[..20]));
        slow.iter_mut().for_each(|peer| assert_eq!(peer.goodbye().code, ErrorCode::PROTOCOL));
    });
    siege.lift();
}

#[test]
fn a08_repeated_call_ids_delay_no_peer() {
    let mut siege = Siege::lay();
    let twice = Message::Call(call(7, "ipc.ping", "")).to_vec().repeat(2);
    siege.endure(|broker| {
        let mut offender = Peer::connect(broker);
        offender.send_bytes(&twice);
        assert_eq!((offender.reply().0, offender.goodbye().code), (7, ErrorCode::PROTOCOL));
    });
    siege.lift();
}

#[test]
fn a09_forged_answers_reach_no_caller() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        // Numbers that the broker has given to the calls of the bystanders may be among them.
        let lies =
            (1..=64).map(|id| Message::Reply(Reply { id, encoding: Encoding::BYTES, body: Bytes::new().into() }));
        let lies: Vec<_> = lies.flat_map(|lie| lie.to_vec()).collect();
        let mut liar = Peer::connect(broker);
        let _ = liar.try_send_bytes(&lies);
        assert_eq!(liar.goodbye().code, ErrorCode::PROTOCOL);
    });
    siege.lift();
}

#[test]
fn a09_calls_before_hello_delay_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let mut early = Peer::open(broker);
        let _ = early.try_send_bytes(&Message::Call(call(1, "steady", "")).to_vec());
        assert_eq!(early.goodbye().code, ErrorCode::PROTOCOL);
    });
    siege.lift();
}

#[test]
fn a10_urgent_bytes_and_half_closed_sockets_delay_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let mut odd = Peer::connect(broker);
        for _ in 0..20 {
            let _ = send(odd.stream().as_raw_fd(), b"!", MsgFlags::MSG_OOB | MsgFlags::MSG_NOSIGNAL);
            let _ = odd.send_with(b"", &[]);
        }
        let _ = odd.stream().shutdown(Shutdown::Write);
        while odd.receive().is_some() {}
    });
    siege.lift();
}
