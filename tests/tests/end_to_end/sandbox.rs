//! The daemon's sandbox: what it can't do even if injected code ran in it, and what it still can. All other tests run in it too.
#![cfg(not(coverage))] // such a build has none

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
};

use ipc_tests::{
    broker::{Broker, STRANGER, is_root, skip},
    command::{Command, Finished, Running},
    eventually::{SOON, eventually},
    peer::Peer,
    proc,
    programs::Programs,
};
use nix::sys::signal::Signal;

/// A directory for a broker and its configuration.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(place.path().join("etc")).unwrap();
    fs::write(place.path().join("etc/ipcd.toml"), "").unwrap();
    place
}

/// Runs a process that does one thing in the sandbox.
fn confined(deed: &str) -> Finished {
    let place = place();
    Command::new(env!("CARGO_BIN_EXE_confined"), [place.path().as_os_str(), deed.as_ref()]).run()
}

#[track_caller]
fn expect_done(deed: &str) {
    let finished = confined(deed);
    assert_eq!((finished.code, finished.stdout().as_str()), (0, "done\n"), "{deed}: {}", finished.stderr);
}

#[track_caller]
fn expect_refused(deed: &str) {
    let finished = confined(deed);
    if finished.stderr.contains("missing=landlock") {
        return skip("this kernel has no Landlock");
    }
    assert_eq!((finished.code, finished.stdout().as_str()), (0, "PermissionDenied\n"), "{deed}: {}", finished.stderr);
}

#[track_caller]
fn expect_killed(deed: &str) {
    let finished = confined(deed);
    let expected = (Some(Signal::SIGSYS as i32), "");
    assert_eq!((finished.signal, finished.stdout().as_str()), expected, "{deed}: {}", finished.stderr);
}

/// A started daemon that is ready.
fn ready(arguments: &[&str], socket: &Path) -> Running {
    let all = [&["--socket", socket.to_str().unwrap()], arguments].concat();
    let broker = Command::new(&Programs::get().ipcd, all).env("SECRET", "of the parent").start();
    broker.expect_output("ipcd: ready on ");
    broker
}

fn environment(pid: u32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/environ")).unwrap()).replace('\0', "\n")
}

fn core_limit(pid: u32) -> String {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    line.split_whitespace().skip(4).collect::<Vec<_>>().join(" ")
}

// ---- what the code in it can do

#[test]
fn a_system_call_that_is_not_listed_is_the_end() {
    expect_killed("execute a program");
    expect_killed("start a process");
    expect_killed("open a network socket");
    expect_killed("send a signal");
    expect_killed("set a limit");
    expect_killed("ask for the parent");
}

#[test]
fn it_is_the_end_of_the_process_in_whatever_thread() {
    expect_killed("ask for the parent in a thread");
}

#[test]
fn files_elsewhere_are_out_of_reach() {
    expect_refused("read a file elsewhere");
    expect_refused("write to a file elsewhere");
    expect_refused("write to the configuration");
    expect_refused("bind a socket elsewhere");
    expect_refused("list a directory");
}

#[test]
fn what_a_broker_and_its_runtime_do_is_allowed() {
    expect_done("start a thread");
    expect_done("use memory");
    expect_done("sleep");
    expect_done("read the configuration");
    expect_done("replace the lock");
    expect_done("bind a socket");
}

#[test]
fn a_bug_ends_as_it_does_elsewhere() {
    assert_eq!(confined("abort").signal, Some(Signal::SIGABRT as i32));
    assert_eq!(confined("overflow the stack").signal, Some(Signal::SIGABRT as i32));
    let panicked = confined("panic");
    assert_eq!(panicked.code, 101, "{}", panicked.stderr);
    assert!(panicked.stderr.contains("as told"), "{}", panicked.stderr);
}

// ---- the daemon

#[test]
fn the_daemon_is_in_the_sandbox_from_its_first_line_on() {
    let place = place();
    let broker = ready(&[], &place.path().join("s"));
    let status = |name: &str| proc::status(broker.pid(), name);
    assert_eq!((status("Seccomp").as_str(), status("NoNewPrivs").as_str()), ("2", "1"));
    assert_eq!(core_limit(broker.pid()), "0 0 bytes");
}

#[test]
fn nothing_of_the_parents_environment_is_left() {
    if !is_root() {
        return; // only root may read it
    }
    let place = place();
    let broker = ready(&[], &place.path().join("s"));
    let is_of_the_linker = |line: &&str| line.starts_with("LD_LIBRARY_PATH="); // cargo's
    let environment = environment(broker.pid());
    assert_eq!(environment.lines().filter(|line| !is_of_the_linker(line)).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(fs::read_to_string(format!("/proc/{}/comm", broker.pid())).unwrap(), "ipcd\n");
}

#[test]
fn a_user_can_look_into_none_of_its_brokers() {
    if !is_root() {
        return;
    }
    let place = place();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777 | 0o1000)).unwrap();
    let socket = place.path().join("run/s");
    let arguments = ["--socket", socket.to_str().unwrap()];
    let broker = Command::new(&Programs::get().ipcd, arguments).user(STRANGER).start();
    broker.expect_output("ipcd: ready on ");
    let of_user = |program: &str, file: &str| {
        Command::new(program, [format!("/proc/{}/{file}", broker.pid())]).user(STRANGER).run()
    };
    assert_eq!(of_user("cat", "comm").stdout(), "ipcd\n");
    assert!(of_user("readlink", "exe").code != 0 && of_user("cat", "environ").code != 0);
}

#[test]
fn without_the_sandbox_it_is_a_process_like_any_other() {
    let place = place();
    let broker = ready(&["--no-sandbox"], &place.path().join("s"));
    let status = |name: &str| proc::status(broker.pid(), name);
    let own = |name: &str| proc::status(std::process::id(), name);
    assert_eq!(["Seccomp", "NoNewPrivs"].map(status), ["Seccomp", "NoNewPrivs"].map(own));
    assert!(environment(broker.pid()).contains("SECRET=of the parent"));
    assert_eq!(core_limit(broker.pid()), core_limit(std::process::id()));
}

#[test]
fn a_configuration_that_an_editor_has_replaced_is_read_again() {
    let place = place();
    let (config, new) = (place.path().join("etc/ipcd.toml"), place.path().join("etc/new"));
    let broker = ready(&["--config", config.to_str().unwrap()], &place.path().join("run/s"));
    fs::write(&new, "[limits]\nhello_ms = 1234\n").unwrap();
    fs::rename(&new, &config).unwrap();
    broker.signal(Signal::SIGHUP);
    broker.expect_error("event=reloaded");
}

#[test]
fn a_configuration_behind_a_link_is_read_again() {
    let place = place();
    let (config, target) = (place.path().join("etc/ipcd.toml"), place.path().join("elsewhere/actual.toml"));
    fs::create_dir(target.parent().unwrap()).unwrap();
    fs::rename(&config, &target).unwrap();
    std::os::unix::fs::symlink(&target, &config).unwrap();
    let broker = ready(&["--config", config.to_str().unwrap()], &place.path().join("run/s"));
    broker.signal(Signal::SIGHUP);
    broker.expect_error("event=reloaded");
}

#[test]
fn a_removed_socket_and_its_lock_are_made_again() {
    let mut broker = Broker::in_process("");
    let lock = PathBuf::from(format!("{}.lock", broker.socket().display()));
    for file in [broker.socket().to_owned(), broker.datagram_socket(), lock.clone()] {
        fs::remove_file(file).unwrap();
    }
    eventually(SOON, "a new socket", || UnixStream::connect(broker.socket()).is_ok());
    Peer::connect(&broker).settle();
    assert!(lock.exists() && broker.datagram_socket().exists());
    broker.daemon().unwrap().expect_log("event=socket_reopened");
}
