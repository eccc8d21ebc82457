//! Where a broker may have its socket: what is in the way there, whose the directory is, how the path is written.

use std::{
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
        net::UnixListener,
    },
};

use ipc_tests::{
    broker::{STRANGER, is_root},
    command::Command,
    programs::Programs,
};

use super::{UNUSABLE, answers, ipcd, ipcd_at, place, ready, refusal};

// ---- what is in the way

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

// ---- whose the directory is

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

// ---- how the path is written

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
