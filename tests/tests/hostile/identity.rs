//! Who is calling, when the caller lies, dies, hands its connection on or shares its number with another (D).

use std::{
    fs,
    os::{fd::AsRawFd, unix::net::UnixStream},
};

use ipc_protocol::{Call, ErrorCode, Message};
use ipc_tests::{
    broker::{Broker, STRANGER, is_root, skip},
    command::{Command, Running},
    peer::{Peer, call, caller_of, receive_descriptor},
    siege::Siege,
};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, connect, socket};

use crate::offence::told_after_hello;

#[test]
fn d01_a_process_with_the_number_of_a_dead_caller_has_no_part_in_its_rights() {
    if !is_root() {
        return;
    }
    let broker = Broker::in_process("");
    // A stranger connects, hands its connection to root, and dies. Its number goes to a process of root.
    let (connection, dead) = handed_over(&broker, STRANGER);
    let Some(_successor) = process_with_number(dead) else {
        skip("the kernel gives this number to no new process");
        return;
    };
    let mut peer = Peer::on(connection);
    let id = peer.call("ipc.list", "{}");
    let failure = peer.failure();
    assert_eq!((failure.id, failure.code), (id, ErrorCode::DENIED), "whoever has the number now");
    let row = broker.peers().into_iter().find(|row| row.uid == STRANGER).expect("it is connected");
    assert!(row.pid.is_none_or(|pid| pid == dead), "{row:?}");
}

/// A connection, greeted, that a process of another user made and handed over, and the number of that process, which is dead.
fn handed_over(broker: &Broker, uid: u32) -> (UnixStream, u32) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let crowd = broker.crowd(env!("CARGO_BIN_EXE_crowd"), "hand-over", 1).user(uid).input_descriptor(theirs).start();
    let pid = crowd.pid();
    let connection = receive_descriptor(&ours);
    assert_eq!(crowd.finish().code, 0);
    (UnixStream::from(connection), pid)
}

/// A running process of root with this number, unless others take it again and again.
fn process_with_number(wanted: u32) -> Option<Running> {
    for _ in 0..200 {
        fs::write("/proc/sys/kernel/ns_last_pid", (wanted - 1).to_string()).ok()?;
        let running = Command::new("sleep", ["60"]).start();
        if running.pid() == wanted {
            return Some(running);
        }
        running.signal(nix::sys::signal::Signal::SIGKILL);
        let _ = running.finish();
    }
    None
}

#[test]
fn d02_a_call_of_a_caller_that_has_left_has_its_identity() {
    let mut siege = Siege::lay();
    let mut service = Peer::connect(siege.broker());
    service.register("who", 64);
    let last_words = Message::Call(Call { one_way: true, ..call(1, "who", "") }).to_vec();
    siege.endure(|broker| {
        let mut caller = Peer::connect(broker);
        let number = caller.number();
        caller.send_bytes(&last_words);
        drop(caller);
        let delivered = service.delivered();
        service.answer(&delivered, ""); // its caller has left, but the answer makes room in the window
        let (identity, peer) = caller_of(&delivered);
        let own = rustix::process::geteuid().as_raw();
        assert_eq!((identity.uid, identity.pid, peer), (own, Some(std::process::id()), Some(number)));
    });
    drop(service);
    siege.lift();
}

#[test]
fn d03_a_forged_caller_is_a_violation() {
    let mut forged = call(1, "bystander", "");
    forged.caller = ipc_protocol::Identity::new(0, 0).stamp(None);
    told_after_hello(&Message::Call(forged).to_vec());
}

#[test]
fn d05_names_like_the_brokers_own_cannot_be_taken() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let mut squatter = Peer::connect(broker);
        for name in ["ipc", "ipc.list", "steady"] {
            squatter.call("ipc.register", format!(r#"{{"name":"{name}"}}"#));
            let code = squatter.failure().code;
            assert!(matches!(code, ErrorCode::DENIED | ErrorCode::INVALID | ErrorCode::NAME_TAKEN), "{name}: {code}");
        }
    });
    siege.lift();
}

#[test]
fn d07_callers_with_thousands_of_groups_cost_little() {
    if !is_root() {
        return;
    }
    let mut siege = Siege::lay();
    let groups: Vec<String> = (60_000..76_000).map(|group: u32| group.to_string()).collect();
    let limits =
        [format!("--groups={}", groups.join(",")), format!("--reuid={STRANGER}"), format!("--regid={STRANGER}")];
    siege.endure(|broker| {
        let crowd = Command::new("setpriv", &limits).argument(env!("CARGO_BIN_EXE_crowd")).argument("connections");
        let finished = crowd.argument(broker.socket()).argument("100").run();
        assert_eq!(finished.stdout().trim(), "welcomed=100 refused=0 other=0", "{}", finished.stderr);
    });
    siege.lift();
}

#[test]
fn d09_the_address_of_a_caller_is_never_believed_nor_printed() {
    let mut siege = Siege::lay();
    let name = b";uid=0;\n\x1b[2Jevent=stopped";
    siege.endure(|broker| {
        let stream = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        let stream = UnixStream::from(stream);
        if bind(stream.as_raw_fd(), &UnixAddr::new_abstract(name).unwrap()).is_err() {
            return; // the last one is still being closed
        }
        connect(stream.as_raw_fd(), &UnixAddr::new(broker.socket()).unwrap()).unwrap();
        let mut liar = Peer::on(stream).greet();
        liar.send_bytes(b"garbage");
        assert_eq!(liar.goodbye().code, ErrorCode::PROTOCOL);
    });
    let log = fs::read_to_string(siege.broker().directory().join("ipcd.log")).unwrap();
    assert!(!log.contains('\x1b') && !log.contains("uid=0;") && !log.contains("\nevent=stopped"), "{log}");
    siege.lift();
}

#[test]
fn d10_a_stranger_learns_nothing_from_the_way_it_is_refused() {
    if !is_root() {
        return;
    }
    let mut siege = Siege::lay();
    let (connection, _) = handed_over(siege.broker(), STRANGER);
    let mut stranger = Peer::on(connection);
    let mut refusal = |target: &str, body: &str| {
        stranger.call(target, body.to_owned());
        let failure = stranger.failure();
        (failure.code, failure.retry, failure.text.replace(target, "TARGET"))
    };
    siege.endure(|_| {
        assert_eq!(refusal("steady", ""), refusal("absent", ""));
        assert_eq!(refusal("ipc.show", r#"{"name":"steady"}"#), refusal("ipc.show", r#"{"name":"absent"}"#));
        assert_eq!(refusal("ipc.list", ""), refusal("ipc.list", "nonsense"));
    });
    drop(stranger);
    siege.lift();
}

#[test]
fn d11_a_service_that_calls_on_behalf_of_another_calls_as_itself() {
    let mut siege = Siege::lay();
    let [mut front, mut back, mut caller] = [(); 3].map(|()| Peer::connect(siege.broker()));
    front.register("front", 1);
    back.register("back", 1);
    siege.endure(|_| {
        let asked = caller.call("front", "");
        let first = front.delivered();
        // It passes on what it was given, with the stamp of its own caller.
        let relayed = front.call("back", first.caller.clone());
        let second = back.delivered();
        assert_eq!(caller_of(&second).1, Some(front.number()));
        back.answer(&second, "");
        assert_eq!(front.reply().0, relayed);
        front.answer(&first, "");
        assert_eq!(caller.reply().0, asked);
    });
    drop((front, back, caller));
    siege.lift();
}
