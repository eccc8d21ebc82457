//! Making sockets: connect with a bound on the wait, bind with the final mode from the first moment.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    sockopt::{Timeout, set_socket_timeout},
};

use crate::transport::{Address, inherited};

/// A connected stream socket. The wait for room in the listener's backlog is bounded by `patience`: the kernel would otherwise
/// block for ever on a listener that does not accept, and a non-blocking connect gives nothing to poll for (unix(7)).
///
/// # Errors
/// What socket(2) and connect(2) say; `TimedOut` when the backlog stayed full. For a descriptor, an
/// [`InheritError`](inherited::InheritError): `NotConnected` if it isn't open or has ended, `InvalidInput` if it is misuse.
pub fn connect_stream(address: &Address, patience: Duration) -> io::Result<OwnedFd> {
    if let Address::Fd(number) = address {
        return Ok(inherited::connection(*number)?);
    }
    let target = to_socket_address(address)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(patience.max(Duration::from_millis(1))))?;
    loop {
        match connect(&socket, &target) {
            Ok(()) => return Ok(socket),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A listening stream socket, whose file has `mode` from the moment it appears.
///
/// # Errors
/// What socket(2), fchmod(2), bind(2) and listen(2) say.
pub fn listen_stream(address: &Address, mode: u32, backlog: i32) -> io::Result<OwnedFd> {
    let socket = bound(address, SocketType::STREAM, mode)?;
    listen(&socket, backlog)?;
    Ok(socket)
}

/// A bound datagram socket that tells each sender's credentials, whose file has `mode` from the moment it appears.
///
/// # Errors
/// What socket(2), fchmod(2), bind(2) and setsockopt(2) say.
pub fn bind_datagram(address: &Address, mode: u32) -> io::Result<OwnedFd> {
    let socket = bound(address, SocketType::DGRAM, mode)?;
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::PassCred, &true)?;
    Ok(socket)
}

/// fchmod before bind sets the mode of the file that bind creates, after bind it does nothing: so nobody can connect too early.
fn bound(address: &Address, kind: SocketType, mode: u32) -> io::Result<OwnedFd> {
    let target = to_socket_address(address)?;
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    rustix::fs::fchmod(socket.as_fd(), rustix::fs::Mode::from_raw_mode(mode))?;
    bind(&socket, &target)?;
    Ok(socket)
}

fn to_socket_address(address: &Address) -> io::Result<SocketAddrUnix> {
    match address {
        Address::Path(path) => Ok(SocketAddrUnix::new(path)?),
        Address::Abstract(name) => Ok(SocketAddrUnix::new_abstract_name(name)?),
        Address::Fd(_) => Err(io::ErrorKind::InvalidInput.into()),
    }
}
