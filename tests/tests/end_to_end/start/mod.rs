//! How a broker starts, or why it does not.

mod claim;
mod configuration;
mod inherited;
mod place;

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
};

use ipc_tests::{
    command::{Command, Running},
    peer::Peer,
    programs::Programs,
};

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

#[test]
fn the_example_of_the_daemon_works_word_by_word() {
    let (directory, _) = place();
    let help = ipcd(&["--help"]).prints_text();
    let (_, example) = help.rsplit_once("Example:\n").expect("it stands at the end");
    let shell = Command::shell(&format!("{example}\nkill $!; wait")).env("HOME", directory.path());
    let shown = shell.prints_text();
    assert!(shown.contains("ipcctl peers"), "{shown}");
}

#[test]
fn s26_the_daemon_has_help_with_an_example_and_exits_2_on_a_wrong_option() {
    let help = ipcd(&["--help"]).prints_text();
    assert!(help.contains("Example:") && help.contains("--socket"), "{help}");
    let finished = ipcd(&["--sokcet", "x"]).run();
    assert_eq!(finished.code, 2);
    assert!(finished.stderr.contains("--socket"), "{}", finished.stderr);
}
