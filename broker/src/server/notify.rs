//! Notifications for a service manager: datagrams to `$NOTIFY_SOCKET` (sd_notify(3)). A manager that doesn't read must not delay a
//! broker.

use std::{env, ffi::OsStr, io, os::unix::ffi::OsStrExt, time::Duration};

use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with,
    sockopt::{Timeout, set_socket_timeout},
};

/// Notifies the service manager, if there is one, that the sockets are open. It kills a unit whose READY=1 is lost, and its queue
/// may be full for a moment at boot, so this waits for up to half a second.
///
/// # Errors
/// Those of socket(2) and sendto(2).
pub fn notify_ready() -> io::Result<()> {
    send(b"READY=1", SendFlags::NOSIGNAL)
}

/// Notifies it that the broker is draining. This doesn't wait, because the manager notices the end anyway.
pub(crate) fn notify_stopping() -> io::Result<()> {
    send(b"STOPPING=1", SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}

fn send(text: &[u8], flags: SendFlags) -> io::Result<()> {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let Some(address) = address(&socket)? else { return Ok(()) };
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    sendto(&socket, text, flags, &address)?;
    Ok(())
}

/// Parses `/path` or `@name` (abstract). Other forms (vsock) are for virtual machines.
fn address(socket: &OsStr) -> io::Result<Option<SocketAddrUnix>> {
    match socket.as_bytes() {
        [b'@', name @ ..] => Ok(Some(SocketAddrUnix::new_abstract_name(name)?)),
        path @ [b'/', ..] => Ok(Some(SocketAddrUnix::new(path)?)),
        _ => Ok(None),
    }
}

/// The time for sending READY=1.
const PATIENCE: Duration = Duration::from_millis(500);
