//! What happens around a broker: at the path of its socket, to its configuration, and in shells that call through it. A bystander
//! must not notice.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use ipc_protocol::Message;
use ipc_tests::{
    broker::{AT_ONCE, Broker},
    command::{Command, Running, process},
    eventually::{SOON, eventually, within},
    peer::Peer,
    programs::Programs,
    siege::Siege,
};
use nix::sys::signal::{Signal, kill};

// ---- the path of the socket

#[test]
fn g03_brokers_that_want_the_same_path_delay_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let second = Command::new(&Programs::get().ipcd, ["--socket"]).argument(broker.socket()).run();
        assert_eq!(second.code, 73, "{}", second.stderr);
    });
    siege.lift();
}

#[test]
fn g05_a_socket_whose_mode_changes_all_the_time_delays_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        [0o000, 0o600, 0o666].iter().for_each(|mode| set_mode(broker.socket(), *mode));
    });
    drop(Peer::connect(siege.broker()));
    siege.lift();
}

#[test]
fn g08_a_socket_that_is_removed_again_and_again_delays_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let _ = fs::remove_file(broker.socket());
        let _ = fs::remove_file(broker.datagram_socket());
        assert!(
            within(SOON, || broker.socket().exists() && broker.datagram_socket().exists()),
            "the broker looks every 5 s"
        );
    });
    drop(Peer::connect(siege.broker()));
    siege.lift();
}

// ---- shells

#[test]
fn j02_commands_whose_output_breaks_delay_no_peer() {
    let mut siege = Siege::lay();
    let mut service = Peer::connect(siege.broker());
    service.register("long", 64);
    let stream = service.stream().try_clone().unwrap();
    stream.set_read_timeout(None).unwrap();
    let answers = std::thread::spawn(move || answer_at_length(service));
    siege.endure(|broker| {
        let script = "ipcctl send long | true; ipcctl send long >/dev/full; ipcctl send long >&-; ipcctl limits | head -c 1; true";
        assert_eq!(broker.shell(script).run().code, 0);
    });
    stream.shutdown(std::net::Shutdown::Both).unwrap();
    answers.join().unwrap();
    siege.lift();
}

#[test]
fn j03_odd_arguments_delay_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        for arguments in
            [&["send", ""][..], &["send", "a\n\u{1b}[2J"], &["send", "--", "-x"], &["wait", "*"], &["nonsense"]]
        {
            assert_ne!(broker.ipcctl(arguments).run().code, 0, "{arguments:?}");
        }
    });
    siege.lift();
}

#[test]
fn j04_commands_that_are_interrupted_delay_no_peer() {
    let mut siege = Siege::lay();
    let mut service = Peer::connect(siege.broker());
    service.register("silent", 64);
    siege.endure(|broker| {
        let waiting: Vec<_> = (0..4).map(|_| broker.ipcctl(["send", "silent"]).start()).collect();
        let calls: Vec<_> = waiting.iter().map(|_| service.delivered()).collect();
        waiting.into_iter().for_each(interrupt);
        for call in &calls {
            assert!(matches!(service.receive(), Some(Message::Cancel(_))));
            service.answer(call, ""); // it fills the window until then
        }
    });
    drop(service);
    siege.lift();
}

// ---- the configuration

#[test]
fn m01_a_configuration_full_of_mistakes_delays_no_peer() {
    let mut siege = Siege::lay();
    let pid = siege.pid();
    let mistakes = "[limits]\nnames_per_pear = 1\nhello_ms = 0\n".repeat(1_000);
    siege.endure(|broker| reload(broker, pid, &mistakes, 0o644, "event=reload_failed"));
    siege.lift();
}

#[test]
fn m02_a_configuration_that_others_may_write_delays_no_peer() {
    let mut siege = Siege::lay();
    let pid = siege.pid();
    siege.endure(|broker| reload(broker, pid, "[limits]\nhello_ms = 1\n", 0o666, "event=reload_failed"));
    siege.lift();
}

#[test]
fn m03_limits_that_change_all_the_time_delay_no_peer() {
    let mut siege = Siege::lay();
    let pid = siege.pid();
    siege.endure(|broker| {
        reload(broker, pid, "[limits]\nconnections_per_uid = 16\nbytes_per_uid = 4000000\n", 0o644, "event=reloaded");
        reload(broker, pid, "", 0o644, "event=reloaded");
    });
    siege.lift();
}

/// Writes a configuration, and waits until the broker has read it and says so.
fn reload(broker: &Broker, pid: u32, toml: &str, mode: u32, says: &str) {
    let log = broker.directory().join("ipcd.log");
    fs::write(&log, "").unwrap(); // it is opened to append
    fs::write(broker.config(), toml).unwrap();
    set_mode(&broker.config(), mode);
    kill(process(pid), Signal::SIGHUP).unwrap();
    eventually(AT_ONCE, says, || fs::read_to_string(&log).unwrap_or_default().contains(says));
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn interrupt(command: Running) {
    command.signal(Signal::SIGINT);
    assert_eq!(command.finish().signal, Some(Signal::SIGINT as i32));
}

/// Answers each call with more than a pipe holds.
fn answer_at_length(mut service: Peer) {
    while let Some(message) = service.receive() {
        if let Message::Call(call) = message {
            service.answer(&call, vec![b'x'; 100_000]);
        }
    }
}
