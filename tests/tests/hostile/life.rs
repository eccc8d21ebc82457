//! Services, callers and brokers that die, stop, hang or come back (H, I).

use std::time::Duration;

use ipc_protocol::{ErrorCode, Retry};
use ipc_tests::{
    broker::{AT_ONCE, Broker},
    eventually::eventually,
    peer::Peer,
    siege::Siege,
};
use nix::sys::signal::Signal;

#[test]
fn h01_services_that_die_with_calls_delay_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let (mut service, mut caller) = (Peer::connect(broker), Peer::connect(broker));
        service.register("mortal", 50);
        let ids: Vec<u64> = (0..100).map(|_| caller.call("mortal", "")).collect();
        caller.settle();
        (0..50).for_each(|_| _ = service.delivered());
        drop(service);
        let failures: Vec<_> = ids.iter().map(|_| caller.failure()).collect();
        assert!(failures.iter().all(|failure| failure.code == ErrorCode::SERVICE_GONE), "{failures:?}");
        let unknown = failures.iter().filter(|failure| failure.retry == Retry::Unknown).count();
        assert_eq!(unknown, 50, "those that were delivered");
    });
    siege.lift();
}

#[test]
fn h03_services_that_hang_delay_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let (mut service, mut caller) = (Peer::connect(broker), Peer::connect(broker));
        service.register("hung", 100);
        (0..100).for_each(|_| _ = caller.call_within("hung", "", Duration::from_millis(50)));
        let late: Vec<_> = (0..100).map(|_| service.delivered()).collect();
        (0..100).for_each(|_| assert_eq!(caller.failure().code, ErrorCode::DEADLINE));
        // The first answers are late; more than the limit of strays are not sent.
        (0..100).for_each(|_| assert_eq!(service.cancelled().reason, ErrorCode::DEADLINE));
        late.iter().take(10).for_each(|call| service.answer(call, "late"));
        service.settle();
    });
    siege.lift();
}

#[test]
fn h04_callers_that_die_delay_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let (mut service, mut caller) = (Peer::connect(broker), Peer::connect(broker));
        service.register("busy", 100);
        (0..100).for_each(|_| _ = caller.call("busy", ""));
        (0..100).for_each(|_| _ = service.delivered());
        drop(caller);
        (0..100).for_each(|_| assert_eq!(service.cancelled().reason, ErrorCode::CANCELLED));
    });
    siege.lift();
}

#[test]
fn h12_names_that_are_handed_over_lose_no_call() {
    let mut siege = Siege::lay();
    let mut caller = Peer::connect(siege.broker());
    siege.endure(|broker| {
        let shared = serde_json::json!({ "name": "passed.on", "window": 8, "shared": true });
        let [mut old, mut new] = [(); 2].map(|()| Peer::connect(broker));
        let _: serde_json::Value = old.ask("register", &shared);
        let _: serde_json::Value = new.ask("register", &shared);
        drop(old);
        // Each call goes to exactly one of them: the one that is left, or the dead one, and then it ends once.
        let id = caller.call("passed.on", "");
        let has_bytes = |peer: &Peer| rustix::io::ioctl_fionread(peer.stream()).is_ok_and(|bytes| bytes > 0);
        eventually(AT_ONCE, "its delivery or its end", || has_bytes(&new) || has_bytes(&caller));
        if has_bytes(&new) {
            new.echo();
            assert_eq!(caller.reply().0, id);
        } else {
            let failure = caller.failure();
            assert_eq!((failure.id, failure.code), (id, ErrorCode::SERVICE_GONE));
        }
    });
    drop(caller);
    siege.lift();
}

#[test]
fn i05_signals_that_come_in_a_storm_delay_no_peer() {
    let mut siege = Siege::lay();
    let pid = ipc_tests::command::process(siege.pid());
    siege.endure(|_| {
        for signal in [Signal::SIGHUP, Signal::SIGPIPE, Signal::SIGCHLD, Signal::SIGWINCH, Signal::SIGCONT] {
            nix::sys::signal::kill(pid, signal).unwrap();
        }
        std::thread::yield_now();
    });
    siege.lift();
}

#[test]
fn i09_a_broker_that_aborts_leaves_no_half_state() {
    let mut broker = Broker::in_process("");
    let (mut service, mut caller) = (Peer::connect(&broker), Peer::connect(&broker));
    service.register("mid.call", 1);
    caller.call("mid.call", "");
    service.delivered();
    // The end that a panic has with panic = "abort": no handler runs, nothing is written.
    let daemon = broker.daemon().unwrap();
    daemon.signal(Signal::SIGABRT);
    assert_eq!(daemon.exit_code(), 128 + Signal::SIGABRT as i32);
    assert_eq!((service.receive(), caller.receive()), (None, None), "both learn it at once");

    broker.start_again();
    let (mut service, mut caller) = (Peer::connect(&broker), Peer::connect(&broker));
    service.register("mid.call", 1);
    let id = caller.call("mid.call", "again");
    service.echo();
    assert_eq!(caller.reply(), (id, "again".into()));
    assert_eq!(broker.stat("calls_pending"), 0);
}
