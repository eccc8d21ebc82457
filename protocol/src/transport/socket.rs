//! Making sockets: connect with a bound on the wait, bind with the final mode from the first moment.
//!
//! The descriptors are made by rustix, because the mode and the time must be set before uds gives them an address.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixDatagram,
    },
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, listen, socket_with,
    sockopt::{Timeout, set_socket_timeout},
};
use uds::{UnixDatagramExt, UnixSocketAddr};

use crate::transport::{Address, inherited, rights};

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
    let target = address.to_unix()?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(patience.max(Duration::from_millis(1))))?;
    let socket = UnixDatagram::from(socket);
    match socket.connect_to_unix_addr(&target) {
        Ok(()) => Ok(socket.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::TimedOut.into()),
        Err(error) => Err(error),
    }
}

/// A listening stream socket, whose file has `mode`, less the umask, from the moment it appears.
///
/// # Errors
/// What socket(2), fchmod(2), bind(2) and listen(2) say.
pub fn listen_stream(address: &Address, mode: u32, backlog: i32) -> io::Result<OwnedFd> {
    let socket = bound(address, SocketType::STREAM, mode)?;
    rights::keep_out(&socket)?;
    listen(&socket, backlog)?;
    Ok(socket)
}

/// A bound datagram socket that tells each sender's credentials, whose file has `mode`, less the umask, from the moment it appears.
///
/// # Errors
/// What socket(2), fchmod(2), bind(2) and setsockopt(2) say.
pub fn bind_datagram(address: &Address, mode: u32) -> io::Result<OwnedFd> {
    let socket = bound(address, SocketType::DGRAM, mode)?;
    rights::keep_out(&socket)?;
    setsockopt(&socket, sockopt::PassCred, &true)?;
    Ok(socket)
}

/// A datagram socket that sends to `address`, and receives from there alone. It is bound to an abstract name that the kernel
/// chooses (unix(7), "Autobind"), so that it can be answered and nothing has to be removed afterwards. Non-blocking.
///
/// # Errors
/// What socket(2), bind(2) and connect(2) say.
pub fn connect_datagram(address: &Address) -> io::Result<UnixDatagram> {
    let socket = unbound(SocketType::DGRAM)?;
    socket.bind_to_unix_addr(&UnixSocketAddr::new_unspecified())?;
    socket.connect_to_unix_addr(&address.to_unix()?)?;
    Ok(socket)
}

/// fchmod before bind sets the mode of the file that bind creates; after bind it does nothing. So the file never has a wider mode.
fn bound(address: &Address, kind: SocketType, mode: u32) -> io::Result<OwnedFd> {
    let target = address.to_unix()?;
    let socket = unbound(kind)?;
    rustix::fs::fchmod(socket.as_fd(), rustix::fs::Mode::from_raw_mode(mode))?;
    socket.bind_to_unix_addr(&target)?;
    Ok(socket.into())
}

/// A non-blocking socket of either kind. std's `UnixDatagram` is its owner, because uds's calls for a socket that exists are on that
/// type: they are bind(2) and connect(2), and don't care what kind it is.
fn unbound(kind: SocketType) -> io::Result<UnixDatagram> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, kind, flags, None)?.into())
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::{
            fs::MetadataExt,
            net::{UnixListener, UnixStream},
        },
        time::Instant,
    };

    use super::*;

    #[test]
    fn a_socket_file_has_its_mode_from_the_first_moment() {
        let directory = tempfile::tempdir().unwrap();
        let [stream, datagram] = ["s", "d"].map(|name| directory.path().join(name));
        let listener = listen_stream(&Address::Path(stream.clone()), 0o640, 8).unwrap();
        let _datagrams = bind_datagram(&Address::Path(datagram.clone()), 0o600).unwrap();
        assert_eq!([&stream, &datagram].map(|path| path.metadata().unwrap().mode() & 0o777), [0o640, 0o600]);
        assert!(connect_stream(&Address::Path(stream), PATIENCE).is_ok());
        assert!(UnixListener::from(listener).accept().is_ok());
    }

    #[test]
    fn an_abstract_name_is_served_and_reached() {
        let address = Address::Abstract(format!("ipcd-test-{}", std::process::id()).into_bytes());
        let _listener = listen_stream(&address, 0o600, 8).unwrap();
        let datagrams = UnixDatagram::from(bind_datagram(&address.datagram().unwrap(), 0o600).unwrap());
        assert!(connect_stream(&address, PATIENCE).is_ok());

        let sender = connect_datagram(&address.datagram().unwrap()).unwrap();
        sender.send(b"x").unwrap();
        let (len, from) = datagrams.recv_from_unix_addr(&mut [0; 8]).unwrap();
        assert_eq!((len, from.is_abstract()), (1, true), "the sender can be answered");
        datagrams.send_to_unix_addr(b"yz", &from).unwrap();
        assert_eq!(sender.recv(&mut [0; 8]).unwrap(), 2);
    }

    #[test]
    fn a_listener_that_does_not_accept_is_waited_for_and_no_longer() {
        let directory = tempfile::tempdir().unwrap();
        let address = Address::Path(directory.path().join("s"));
        let _listener = listen_stream(&address, 0o600, 0).unwrap();
        let mut queued = Vec::new();
        let start = Instant::now();
        let error = loop {
            match connect_stream(&address, Duration::from_millis(20)) {
                Ok(socket) => queued.push(UnixStream::from(socket)),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_path_that_is_too_long_is_named_with_its_limit() {
        let address = Address::Path("/x".repeat(60).into());
        let errors = [connect_stream(&address, PATIENCE), listen_stream(&address, 0o600, 8)].map(Result::unwrap_err);
        assert!(errors.iter().all(|error| error.to_string().contains("has 120 bytes, the limit is 107")), "{errors:?}");
    }

    const PATIENCE: Duration = Duration::from_secs(10);
}
