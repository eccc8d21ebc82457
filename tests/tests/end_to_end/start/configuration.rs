//! What the configuration and the environment say, and what is wrong with them.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use ipc_tests::{
    broker::{Daemon, STRANGER, is_root},
    command::Command,
};

use super::{UNUSABLE, answers, ipcd, ipcd_at, place, ready};

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
