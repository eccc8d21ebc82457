//! Sockets inherited from a service manager (sd_listen_fds(3)): descriptors from 3 on, if they are meant for this process.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use ipc_protocol::transport::inherited::{self, Served};
use nix::sys::socket::sockopt::PassCred;

/// The inherited sockets.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    pub(crate) stream: Option<OwnedFd>,
    pub(crate) datagram: Option<OwnedFd>,
}

impl Inherited {
    /// Takes the sockets that `LISTEN_FDS` and `LISTEN_PID` announce; none if these are not set or for another process.
    ///
    /// # Errors
    /// If a variable isn't a number, a descriptor isn't open, or not a listening stream or a datagram AF_UNIX socket, or if there are two
    /// of a kind.
    pub(crate) fn take() -> io::Result<Self> {
        let mut sockets = Self::default();
        let numbers =
            sd_notify::listen_fds().map_err(|error| invalid(format!("LISTEN_FDS and LISTEN_PID: {error}")))?;
        for number in numbers {
            let (place, socket) = match inherited::served(number) {
                Ok(Served::Listener(socket)) => (&mut sockets.stream, socket),
                Ok(Served::Datagram(socket)) => {
                    nix::sys::socket::setsockopt(&socket, PassCred, &true)?; // the service manager may not have set it
                    (&mut sockets.datagram, socket)
                }
                Err(error) => return Err(invalid(format!("LISTEN_FDS: {error}"))),
            };
            set_nonblocking(&socket)?;
            if place.replace(socket).is_some() {
                return Err(invalid(format!("LISTEN_FDS: descriptor {number} is the second socket of its kind")));
            }
        }
        Ok(sockets)
    }
}

/// The listening stream socket at an address `fd:N`, which this process has inherited.
///
/// # Errors
/// If the descriptor isn't one.
pub(crate) fn listener(number: i32) -> io::Result<OwnedFd> {
    let socket = inherited::listener(number)?;
    set_nonblocking(&socket)?;
    Ok(socket)
}

fn set_nonblocking(socket: &impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(socket)?;
    Ok(rustix::fs::fcntl_setfl(socket, flags | rustix::fs::OFlags::NONBLOCK)?)
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
