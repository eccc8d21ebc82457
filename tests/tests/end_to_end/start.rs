//! How a broker starts, or why it does not: paths, locks, inherited sockets, configuration.

use std::{
    fs,
    os::{
        fd::{AsFd, AsRawFd},
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
            net::{SocketAddr, UnixDatagram, UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use ipc_protocol::Message;
use ipc_tests::{
    broker::{Broker, Daemon, STRANGER, is_root, keeps_descriptors_out},
    command::{Command, Running},
    eventually::{SOON, eventually},
    peer::{Peer, send_descriptors},
    programs::Programs,
};
use nix::sys::signal::Signal;

/// The exit code for a path that another broker serves.
const TAKEN: i32 = 73;
/// The exit code for a configuration, a path or an inherited descriptor that cannot be used.
const UNUSABLE: i32 = 78;

/// A directory in which a broker may have its socket.
fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = directory.path().join("ipcd.sock");
    (directory, socket)
}

fn ipcd(arguments: &[&str]) -> Command {
    Command::new(&Programs::get().ipcd, arguments)
}

fn ipcd_at(socket: &Path) -> Command {
    ipcd(&["--socket", socket.to_str().unwrap()])
}

/// The error of a broker that does not start.
#[track_caller]
fn refusal(command: Command, code: i32) -> String {
    let finished = command.run();
    let line = finished.refused(code).to_owned();
    assert!(line.starts_with("ipcd: ") && !line.contains("os error"), "{line}");
    line
}

/// Starts a broker and waits until it is ready.
#[track_caller]
fn ready(command: Command) -> Running {
    let running = command.start();
    running.expect_output("ipcd: ready on ");
    running
}

#[track_caller]
fn answers(socket: &Path) {
    Peer::on(UnixStream::connect(socket).unwrap()).greet().settle();
}

// ---- S16: the address is in use

#[test]
fn s16_a_second_broker_fails_and_names_the_pid_of_the_first() {
    let mut broker = Broker::in_process("");
    let line = refusal(ipcd_at(broker.socket()), TAKEN);
    let pid = broker.daemon().unwrap().pid();
    assert!(line.contains(&format!("(pid {pid})")), "{line}");
    Peer::connect(&broker).settle();
}

#[test]
fn s16_a_broker_starts_where_one_was_killed() {
    let mut broker = Broker::in_process("");
    for _ in 0..rounds() {
        broker.daemon().unwrap().kill();
        assert!(broker.socket().exists(), "the socket of the dead one is still there");
        broker.start_again();
        Peer::connect(&broker).settle();
    }
}

#[test]
fn s16_of_two_brokers_started_at_once_one_wins_and_the_other_names_it() {
    for _ in 0..rounds() {
        let (_directory, socket) = place();
        let mut both = [ipcd_at(&socket).start(), ipcd_at(&socket).start()];
        eventually(SOON, "that one of two has ended", || both.iter_mut().any(|one| !one.is_running()));
        let [mut first, second] = both;
        let (winner, loser) = if first.is_running() { (first, second) } else { (second, first) };
        let finished = loser.finish();
        assert!(finished.refused(TAKEN).contains(&format!("(pid {})", winner.pid())), "{}", finished.stderr);
        winner.expect_output("ipcd: ready on ");
        answers(&socket);
        winner.signal(Signal::SIGKILL);
        winner.finish();
        let next = ready(ipcd_at(&socket));
        answers(&socket);
        drop(next);
    }
}

/// The number of times a start is repeated: 20, or 200 with `IPCD_SOAK=1`.
fn rounds() -> usize {
    if std::env::var_os("IPCD_SOAK").is_some_and(|value| value == "1") { 200 } else { 20 }
}

#[test]
fn s16_of_eight_brokers_started_at_once_one_wins() {
    let (_directory, socket) = place();
    let mut all: Vec<Running> = (0..8).map(|_| ipcd_at(&socket).start()).collect();
    eventually(SOON, "that seven of eight have ended", || {
        all.iter_mut().filter_map(|one| one.is_running().then_some(())).count() == 1
    });
    let at = all.iter_mut().position(Running::is_running).unwrap();
    let winner = all.swap_remove(at);
    let pid = format!("(pid {})", winner.pid());
    all.into_iter()
        .map(Running::finish)
        .for_each(|loser| assert!(loser.refused(TAKEN).contains(&pid), "{}", loser.stderr));
    answers(&socket);
}

#[test]
fn a_live_socket_is_not_stolen_when_its_lock_file_is_gone() {
    let mut broker = Broker::in_process("");
    fs::remove_file(broker.socket().with_extension("sock.lock")).unwrap();
    let line = refusal(ipcd_at(broker.socket()), TAKEN);
    let pid = broker.daemon().unwrap().pid();
    assert!(line.contains(&format!("pid {pid}")), "{line}");
    Peer::connect(&broker).settle();
}

#[test]
fn the_socket_of_a_listener_that_does_not_accept_is_not_deleted() {
    let (_directory, socket) = place();
    let listener = UnixListener::bind(&socket).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _waiting = UnixStream::connect(&socket).unwrap();
    assert!(refusal(ipcd_at(&socket), TAKEN).contains("another program has this socket open"));
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_ok() && socket.exists());
}

#[test]
fn a_datagram_socket_of_another_program_is_not_deleted() {
    let (directory, socket) = place();
    let beside = directory.path().join("ipcd.sock.dgram");
    let other = UnixDatagram::bind(&beside).unwrap();
    assert!(refusal(ipcd_at(&socket), TAKEN).contains("ipcd.sock.dgram: another program has this socket open"));
    let _broker = ready(ipcd_at(&socket).argument("--no-datagram"));
    UnixDatagram::unbound().unwrap().send_to(b"x", &beside).unwrap();
    assert_eq!(other.recv(&mut [0; 8]).unwrap(), 1);
}

#[test]
fn without_a_datagram_socket_its_path_is_ignored() {
    let (directory, socket) = place();
    fs::write(directory.path().join("ipcd.sock.dgram"), "precious").unwrap();
    let _broker = ready(ipcd_at(&socket).argument("--no-datagram"));
    answers(&socket);
}

// ---- other obstacles

#[test]
fn a_file_at_the_path_is_left_alone() {
    let (_directory, socket) = place();
    fs::write(&socket, "precious").unwrap();
    let line = refusal(ipcd_at(&socket), UNUSABLE);
    assert!(line.contains("not a socket") && line.contains(socket.to_str().unwrap()), "{line}");
    assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
}

#[test]
fn a_file_at_the_path_of_the_datagram_socket_is_left_alone() {
    let (directory, socket) = place();
    let other = directory.path().join("ipcd.sock.dgram");
    fs::write(&other, "precious").unwrap();
    assert!(refusal(ipcd_at(&socket), UNUSABLE).contains("ipcd.sock.dgram"));
    assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
}

#[test]
fn a_directory_at_the_path_is_left_alone() {
    let (_directory, socket) = place();
    fs::create_dir(&socket).unwrap();
    assert!(refusal(ipcd_at(&socket), UNUSABLE).contains("not a socket"));
    assert!(socket.is_dir());
}

#[test]
fn a_link_at_the_path_is_left_alone_even_if_it_leads_to_a_socket() {
    let (directory, socket) = place();
    let elsewhere = directory.path().join("elsewhere");
    let _listener = UnixListener::bind(&elsewhere).unwrap();
    symlink(&elsewhere, &socket).unwrap();
    assert!(refusal(ipcd_at(&socket), UNUSABLE).contains("not a socket"));
    assert!(elsewhere.exists() && socket.is_symlink());
}

#[test]
fn a_dangling_link_at_the_path_is_left_alone() {
    let (_directory, socket) = place();
    symlink("nowhere", &socket).unwrap();
    assert!(refusal(ipcd_at(&socket), UNUSABLE).contains("not a socket"));
    assert!(socket.is_symlink());
}

#[test]
fn a_fifo_at_the_path_is_left_alone() {
    let (_directory, socket) = place();
    nix::unistd::mkfifo(&socket, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(refusal(ipcd_at(&socket), UNUSABLE).contains("not a socket"));
    assert!(fs::symlink_metadata(&socket).unwrap().file_type().is_fifo());
}

#[test]
fn a_link_in_place_of_the_lock_file_is_not_followed() {
    let (directory, socket) = place();
    let victim = directory.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, directory.path().join("ipcd.sock.lock")).unwrap();
    assert!(refusal(ipcd_at(&socket), UNUSABLE).contains("lock"));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn a_directory_that_others_write_to_is_refused() {
    let (directory, socket) = place();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let line = refusal(ipcd_at(&socket), UNUSABLE);
    assert!(line.contains("others may write to it (mode 777)"), "{line}");
}

#[test]
fn a_directory_of_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let (directory, socket) = place();
    std::os::unix::fs::chown(directory.path(), Some(STRANGER), None).unwrap();
    let line = refusal(ipcd_at(&socket), UNUSABLE);
    assert!(line.contains(&format!("it belongs to user {STRANGER}")), "{line}");
}

#[test]
fn a_directory_below_one_that_others_write_to_is_refused() {
    let (directory, _) = place();
    let socket = directory.path().join("below/ipcd.sock");
    drop(ready(ipcd_at(&socket)));
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let line = refusal(ipcd_at(&socket), UNUSABLE);
    assert!(line.contains(&format!("{}: others may write to it", directory.path().display())), "{line}");
}

#[test]
fn a_lock_file_of_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let (directory, socket) = place();
    let lock = directory.path().join("ipcd.sock.lock");
    fs::write(&lock, "").unwrap();
    std::os::unix::fs::chown(&lock, Some(STRANGER), None).unwrap();
    let line = refusal(ipcd_at(&socket), UNUSABLE);
    assert!(line.contains(&format!("ipcd.sock.lock: it belongs to user {STRANGER}")), "{line}");
}

#[test]
fn a_missing_directory_is_created_and_its_socket_can_be_reached() {
    let (directory, _) = place();
    let socket = directory.path().join("run/ipcd/ipcd.sock");
    let _broker = ready(ipcd_at(&socket));
    answers(&socket);
    let mode = fs::metadata(socket.parent().unwrap()).unwrap().mode() & 0o777;
    assert_eq!(mode, if rustix::process::geteuid().is_root() { 0o755 } else { 0o700 });
}

#[test]
fn a_directory_that_cannot_be_created_is_named() {
    let line = refusal(ipcd(&["--socket", "/proc/ipcd/ipcd.sock"]), UNUSABLE);
    assert!(line.contains("/proc/ipcd") && line.contains("create the directory"), "{line}");
}

#[test]
fn a_path_that_is_one_byte_too_long_is_refused_with_the_limit() {
    let (directory, _) = place();
    let longest = directory.path().join("x".repeat(100 - directory.path().as_os_str().len()));
    assert_eq!(longest.as_os_str().len(), 101);
    let _broker = ready(ipcd_at(&longest));
    answers(&longest);
    let too_long = format!("{}x", longest.display());
    let line = refusal(ipcd(&["--socket", &too_long]), UNUSABLE);
    assert!(line.contains("102 bytes") && line.contains("101"), "{line}");
}

#[test]
fn a_relative_path_works() {
    let (directory, socket) = place();
    let _broker = ready(ipcd(&["--socket", "ipcd.sock"]).directory(directory.path()));
    answers(&socket);
}

#[test]
fn a_path_that_is_not_utf_8_works() {
    let (directory, _) = place();
    let socket = directory.path().join(std::ffi::OsStr::from_bytes(b"\xff\xfe.sock"));
    let _broker = ready(Command::new(&Programs::get().ipcd, [std::ffi::OsStr::new("--socket"), socket.as_os_str()]));
    answers(&socket);
}

#[test]
fn an_abstract_address_works() {
    let address = format!("@ipcd-test-{}", std::process::id());
    let _broker = ready(ipcd(&["--socket", &address]));
    assert!(Command::ipcctl(["ping"]).socket(&address).run().code == 0);
}

#[test]
fn sockets_appear_with_their_final_mode_whatever_the_umask() {
    let (_directory, socket) = place();
    let script = format!("umask 077; exec ipcd --socket {}", socket.display());
    let _broker = ready(Command::shell(&script));
    for path in [socket.clone(), socket.with_extension("sock.dgram")] {
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o666, "{}", path.display());
    }
}

#[test]
fn a_removed_socket_cuts_no_peer() {
    let broker = Broker::start();
    let mut peer = Peer::connect(&broker);
    fs::remove_file(broker.socket()).unwrap();
    peer.settle();
}

#[test]
fn a_removed_socket_is_created_again() {
    let mut broker = Broker::in_process("");
    let mut old = Peer::connect(&broker);
    fs::remove_file(broker.socket()).unwrap();
    fs::remove_file(broker.datagram_socket()).unwrap();
    let socket = broker.socket().to_owned();
    broker.daemon().unwrap().expect_log("event=socket_reopened");
    answers(&socket);
    assert_eq!(broker.ipcctl(["-t", "2s", "send", "--datagram", "ipc.ping"]).prints_text(), "{}\n");
    old.settle();
    assert!(refusal(ipcd_at(&socket), TAKEN).contains("another broker"), "the path is claimed as before");
}

#[test]
fn a_broker_whose_path_another_has_taken_says_so_and_leaves_it_alone() {
    let mut first = Broker::in_process("");
    let mut old = Peer::connect(&first);
    let socket = first.socket().to_owned();
    fs::remove_file(&socket).unwrap();
    fs::remove_file(first.datagram_socket()).unwrap();
    fs::remove_file(socket.with_extension("sock.lock")).unwrap();
    let second = ready(ipcd_at(&socket));
    let daemon = first.daemon().unwrap();
    daemon.expect_log("event=socket_lost");
    assert!(daemon.log().contains(&format!("another broker (pid {})", second.pid())), "{}", daemon.log());
    answers(&socket);
    old.settle();
}

#[test]
fn a_file_in_place_of_a_removed_socket_is_not_removed_at_the_end() {
    let mut broker = Broker::in_process("");
    fs::remove_file(broker.socket()).unwrap();
    fs::write(broker.socket(), "another program's").unwrap();
    let daemon = broker.daemon().unwrap();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.exit_code(), 0);
    assert_eq!(fs::read_to_string(broker.socket()).unwrap(), "another program's");
}

// ---- what a broker inherits

#[test]
fn a_broker_starts_with_closed_standard_streams() {
    let (_directory, socket) = place();
    let script = format!("exec ipcd --socket {} <&- >&- 2>&-", socket.display());
    let broker = Command::shell(&script).start();
    eventually(SOON, "a broker without standard streams", || UnixStream::connect(&socket).is_ok());
    answers(&socket);
    let of_streams = |number: u32| fs::read_link(format!("/proc/{}/fd/{number}", broker.pid())).unwrap();
    assert_eq!([0, 1, 2].map(of_streams), ["/dev/null"; 3].map(PathBuf::from));
}

#[test]
fn a_service_manager_is_told_when_the_broker_is_ready() {
    let (directory, socket) = place();
    let notify = directory.path().join("notify");
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let broker = ipcd_at(&socket).env("NOTIFY_SOCKET", &notify).start();
    let mut told = [0; 100];
    let len = manager.recv(&mut told).unwrap();
    assert_eq!(String::from_utf8_lossy(&told[..len]).trim_end(), "READY=1");
    answers(&socket);
    broker.signal(Signal::SIGTERM);
    let len = manager.recv(&mut told).unwrap();
    assert_eq!(String::from_utf8_lossy(&told[..len]).trim_end(), "STOPPING=1");
}

#[test]
fn a_service_manager_with_an_abstract_address_is_told() {
    let (_directory, socket) = place();
    let name = format!("ipcd-test-manager-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let _broker = ready(ipcd_at(&socket).env("NOTIFY_SOCKET", format!("@{name}")));
    let mut told = [0; 100];
    let len = manager.recv(&mut told).unwrap();
    assert_eq!(&told[..len], b"READY=1");
}

#[test]
fn a_service_manager_that_does_not_read_delays_nothing() {
    let (directory, socket) = place();
    let notify = directory.path().join("notify");
    let manager = UnixDatagram::bind(&notify).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"x", &notify).is_ok() {}
    let broker = ready(ipcd_at(&socket).env("NOTIFY_SOCKET", &notify));
    answers(&socket);
    broker.signal(Signal::SIGTERM);
    assert_eq!(broker.finish().code, 0);
    drop(manager);
}

#[test]
fn a_full_standard_output_delays_nothing() {
    let (directory, socket) = place();
    // A full pipe that is never read. Descriptor 4 keeps it open.
    let script =
        format!("mkfifo out; exec 4<>out; head -c 65536 /dev/zero >&4; exec ipcd --socket {} >out", socket.display());
    let broker = Command::shell(&script).directory(directory.path()).start();
    eventually(SOON, "a socket", || socket.exists());
    answers(&socket);
    broker.signal(Signal::SIGTERM);
    assert_eq!(broker.finish().code, 0);
}

#[test]
fn a_broker_in_another_program_leaves_its_descriptors_alone() {
    let script = "ulimit -Sn 512; exec ipcctl run -- sh -c 'ulimit -Sn'";
    assert_eq!(Command::shell(script).prints_text(), "512\n");
}

#[test]
fn an_inherited_listening_socket_is_used_and_outlives_the_broker() {
    let (_directory, socket) = place();
    let listener = UnixListener::bind(&socket).unwrap();
    let early = UnixStream::connect(&socket).unwrap();
    let script = format!("exec env LISTEN_PID=$$ LISTEN_FDS=1 ipcd --socket {} 3<&0 </dev/null", socket.display());
    let broker = ready(Command::shell(&script).input_descriptor(listener.try_clone().unwrap()));
    Peer::on(early).greet().settle();
    broker.signal(Signal::SIGTERM);
    assert_eq!(broker.finish().code, 0);
    assert!(UnixStream::connect(&socket).is_ok(), "a new connection waits for the next broker");
    assert!(listener.as_raw_fd() > 2);
}

#[test]
fn an_inherited_descriptor_that_is_not_listening_is_refused() {
    let (_directory, socket) = place();
    let script = format!("exec env LISTEN_PID=$$ LISTEN_FDS=1 ipcd --socket {} 3</dev/null", socket.display());
    assert!(refusal(Command::shell(&script), UNUSABLE).contains("LISTEN_FDS: descriptor 3 isn't an AF_UNIX socket"));
    let (unconnected, _other) = UnixStream::pair().unwrap();
    let script = format!("exec env LISTEN_PID=$$ LISTEN_FDS=1 ipcd --socket {} 3<&0", socket.display());
    let line = refusal(Command::shell(&script).input_descriptor(unconnected), UNUSABLE);
    assert!(line.contains("neither a listening stream socket nor a datagram socket"), "{line}");
}

#[test]
fn an_inherited_datagram_socket_identifies_its_senders() {
    let (_directory, socket) = place();
    let listener = UnixListener::bind(&socket).unwrap();
    let datagram = UnixDatagram::bind(format!("{}.dgram", socket.display())).unwrap(); // has not set SO_PASSCRED
    let kept = rustix::io::dup(&datagram).unwrap(); // stays open for the broker's process
    let handed_down =
        format!("LISTEN_PID=$$ LISTEN_FDS=2 ipcd --socket {} 3<&0 4<&{}", socket.display(), kept.as_raw_fd());
    // bash, because dash accepts no descriptor above 9 in a redirection.
    let script = format!("exec bash -c 'exec env {handed_down} </dev/null'");
    let _broker = ready(Command::shell(&script).input_descriptor(listener));
    let ping = Command::ipcctl(["-t", "2s", "send", "--datagram", "ipc.ping"]).socket(&socket);
    assert_eq!(ping.prints_text(), "{}\n");
}

#[test]
fn a_listening_socket_can_be_the_address() {
    let (_directory, socket) = place();
    let listener = UnixListener::bind(&socket).unwrap();
    let script = "exec ipcd --socket fd:3 3<&0 </dev/null";
    let _broker = ready(Command::shell(script).input_descriptor(listener));
    let mut peer = Peer::on(UnixStream::connect(&socket).unwrap()).greet();
    peer.settle();
    if keeps_descriptors_out() {
        let sent = send_descriptors(&peer, &Message::Ping(1).to_vec(), std::io::stderr().as_fd(), 1);
        assert_eq!(sent, Err(nix::Error::EPERM), "no descriptor gets in");
    }
    let (connected, _other) = UnixStream::pair().unwrap();
    let line = refusal(Command::shell(script).input_descriptor(connected), UNUSABLE);
    assert!(line.contains("descriptor 3 isn't a listening stream socket"), "{line}");
}

#[test]
fn an_inherited_descriptor_that_is_not_a_unix_socket_is_refused() {
    let (_directory, socket) = place();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let script = format!("exec env LISTEN_PID=$$ LISTEN_FDS=1 ipcd --socket {} 3<&0", socket.display());
    let line = refusal(Command::shell(&script).input_descriptor(tcp), UNUSABLE);
    assert!(line.contains("LISTEN_FDS: descriptor 3"), "{line}");
}

#[test]
fn a_wrong_count_of_descriptors_is_refused() {
    let (_directory, socket) = place();
    let count = |listen_fds: &str| {
        let script = format!("exec env LISTEN_PID=$$ LISTEN_FDS={listen_fds} ipcd --socket {}", socket.display());
        refusal(Command::shell(&script), UNUSABLE)
    };
    assert!(count("1").contains("LISTEN_FDS"), "none was handed down: 3 is the broker's own");
    assert!(count("1000").contains("LISTEN_FDS"));
    assert!(count("4294967295").contains("LISTEN_FDS"));
    assert!(count("some").contains("LISTEN_FDS"));
    assert!(refusal(ipcd_at(&socket).env("LISTEN_PID", "me").env("LISTEN_FDS", "1"), UNUSABLE).contains("LISTEN_PID"));
    assert!(!socket.exists());
}

#[test]
fn descriptors_for_another_process_are_left_alone() {
    let (_directory, socket) = place();
    let _broker = ready(ipcd_at(&socket).env("LISTEN_PID", "1").env("LISTEN_FDS", "5"));
    answers(&socket);
}

// ---- configuration

/// The broker's errors about a configuration file, without its path.
#[track_caller]
fn told_of(text: &str) -> Vec<String> {
    let (directory, socket) = place();
    let config = directory.path().join("ipcd.toml");
    fs::write(&config, text).unwrap();
    let told = complaints(&socket, &config);
    assert!(!socket.exists(), "nothing was begun");
    let prefix = format!("ipcd: {}:", config.display());
    told.lines().map(|line| line.strip_prefix(&prefix).expect(line).to_owned()).collect()
}

#[track_caller]
fn complaints(socket: &Path, config: &Path) -> String {
    let finished = ipcd_at(socket).argument("--config").argument(config).run();
    assert_eq!((finished.code, finished.stdout().as_str()), (UNUSABLE, ""), "{}", finished.stderr);
    finished.stderr
}

#[test]
fn all_mistakes_in_the_configuration_are_reported_with_their_lines() {
    let text = "sokcet = '/x'\n[limits]\ncalls_per_calller = 7\nhello_ms = -1\ncalls_per_caller = 0\n";
    assert_eq!(
        told_of(text),
        [
            "1: 'sokcet' isn't a setting; there are 'socket', 'datagram' and the section 'limits'",
            "3: 'calls_per_calller' isn't a limit ('ipcctl limits' lists them)",
            "4: 'hello_ms' must be a whole number that isn't negative, not -1",
            "5: calls_per_caller = 0 is out of range: 1 to 4294967295 calls",
        ]
    );
    assert!(told_of("[limits\n")[0].starts_with("1: "));
}

#[test]
fn a_time_beyond_the_clocks_range_is_refused() {
    assert_eq!(
        told_of("[limits]\nhello_ms = 9300000000000\nframe_ms = 9300000000000\n"),
        [
            "2: hello_ms = 9300000000000 is out of range: 1 to 3600000 ms",
            "3: frame_ms = 9300000000000 is out of range: 1 to 3600000 ms",
        ]
    );
}

#[test]
fn limits_too_low_for_a_delivered_call_are_refused() {
    let told = told_of("[limits]\nunread_soft_bytes = 100000\nunread_hard_bytes = 400000\n");
    assert!(told[0].starts_with("3: unread_hard_bytes = 400000 must be at least 1152704"), "{told:?}");
}

#[test]
fn a_configuration_that_others_can_write_is_refused() {
    let (directory, socket) = place();
    let config = directory.path().join("ipcd.toml");
    fs::write(&config, "").unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(complaints(&socket, &config).contains("others may write to it (mode 666)"));
    if !is_root() {
        return;
    }
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::chown(&config, Some(STRANGER), None).unwrap();
    assert!(complaints(&socket, &config).contains(&format!("belongs to user {STRANGER}")));
}

#[test]
fn check_reports_mistakes_and_starts_nothing() {
    let (directory, socket) = place();
    let config = directory.path().join("ipcd.toml");
    let check = || ipcd_at(&socket).argument("--check").argument("--config").argument(&config).run();
    fs::write(&config, "[limits]\nhello_ms = 1\n").unwrap();
    assert_eq!((check().code, check().stderr.as_str(), check().stdout().as_str()), (0, "", ""));
    fs::write(&config, "[limits]\nhello_ms = 0\n").unwrap();
    assert_eq!(check().code, UNUSABLE);
    assert!(check().stderr.contains("ipcd.toml:2: hello_ms = 0 is out of range"), "{}", check().stderr);
    assert!(!socket.exists() && !directory.path().join("ipcd.sock.lock").exists());
    assert_eq!(ipcd(&["--check"]).run().code, 2);
}

#[test]
fn a_configuration_that_cannot_be_read_is_named() {
    let (directory, socket) = place();
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let missing = complaints(&socket, Path::new("/no/such/file"));
    assert_eq!(missing, "ipcd: /no/such/file: cannot be read: No such file or directory\n");
    assert!(complaints(&socket, Path::new("/dev/zero")).contains("/dev/zero: not a regular file"));
    assert!(complaints(&socket, &fifo).contains("not a regular file"));
}

#[test]
fn the_configuration_names_the_socket_unless_the_command_line_does() {
    let (directory, socket) = place();
    let config = directory.path().join("ipcd.toml");
    fs::write(&config, format!("socket = \"{}\"\n", socket.display())).unwrap();
    let broker = ready(ipcd(&["--config", config.to_str().unwrap()]));
    answers(&socket);
    let other = directory.path().join("other.sock");
    let second = Daemon::start(ipcd(&[]), &other, &config, &directory.path().join("log"));
    answers(&other);
    drop((broker, second));
}

#[test]
fn without_an_address_the_environment_decides() {
    let (directory, _) = place();
    let _broker = ready(ipcd(&[]).env("XDG_RUNTIME_DIR", directory.path()));
    let socket = directory.path().join("ipcd/ipcd.sock");
    answers(&socket);
    let ping = Command::ipcctl(["ping"]).env("XDG_RUNTIME_DIR", directory.path());
    assert_eq!(ping.patience(Duration::from_secs(10)).run().code, 0);
}

#[test]
fn s26_the_daemon_has_help_with_an_example_and_exits_2_on_a_wrong_option() {
    let help = ipcd(&["--help"]).prints_text();
    assert!(help.contains("Example:") && help.contains("--socket"), "{help}");
    let finished = ipcd(&["--sokcet", "x"]).run();
    assert_eq!(finished.code, 2);
    assert!(finished.stderr.contains("--socket"), "{}", finished.stderr);
}
