//! What a service manager is told (sd_notify(3)): datagrams to `$NOTIFY_SOCKET`, if it is set. A manager that doesn't read must hold
//! no broker up.

use std::{env, ffi::OsStr, io, os::unix::ffi::OsStrExt, time::Duration};

use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with,
    sockopt::{Timeout, set_socket_timeout},
};

/// Tells the service manager, if there is one, that the sockets are open. While a machine boots its queue may be full for a moment,
/// and a unit whose READY=1 is lost is killed later: so this waits for half a second.
///
/// # Errors
/// What socket(2) and sendto(2) say; nothing depends on it.
pub fn notify_ready() -> io::Result<()> {
    send(b"READY=1", SendFlags::NOSIGNAL)
}

/// Tells it that the broker drains. It finds out anyway, so this waits for nothing.
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

/// `/path` or `@name` (abstract). There are others, which only virtual machines use.
fn address(socket: &OsStr) -> io::Result<Option<SocketAddrUnix>> {
    match socket.as_bytes() {
        [b'@', name @ ..] => Ok(Some(SocketAddrUnix::new_abstract_name(name)?)),
        path @ [b'/', ..] => Ok(Some(SocketAddrUnix::new(path)?)),
        _ => Ok(None),
    }
}

/// How long READY=1 may take.
const PATIENCE: Duration = Duration::from_millis(500);
