//! Sockets that a service manager opened and handed down (sd_listen_fds(3)): descriptors from 3 on, if they are meant for us.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use ipc_protocol::transport::inherited::{self, Served};
use nix::sys::socket::sockopt::PassCred;

/// The sockets handed down.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    pub(crate) stream: Option<OwnedFd>,
    pub(crate) datagram: Option<OwnedFd>,
}

impl Inherited {
    /// Takes the sockets that `LISTEN_FDS` and `LISTEN_PID` promise; none if they are not set, or set for another process.
    ///
    /// # Errors
    /// If a descriptor is no AF_UNIX socket, not a listening stream or datagram one, or there are two of a kind.
    pub(crate) fn take(variable: impl Fn(&str) -> Option<String>) -> io::Result<Self> {
        let number = |name: &str| variable(name).and_then(|value| value.parse::<u32>().ok());
        let mut sockets = Self::default();
        let (Some(pid), Some(count)) = (number("LISTEN_PID"), number("LISTEN_FDS")) else { return Ok(sockets) };
        if pid != std::process::id() {
            return Ok(sockets);
        }
        for number in (FIRST..).take(usize::try_from(count).unwrap_or(0).min(MOST)) {
            let (place, socket) = match inherited::served(number) {
                Ok(Served::Listener(socket)) => (&mut sockets.stream, socket),
                Ok(Served::Datagram(socket)) => {
                    nix::sys::socket::setsockopt(&socket, PassCred, &true)?; // whoever made it need not have asked who sends
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

/// The listening stream socket that this process inherited under a number: an address `fd:N`.
///
/// # Errors
/// If it is none.
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

/// SD_LISTEN_FDS_START.
const FIRST: i32 = 3;
/// One stream and one datagram socket, and one too many to say so.
const MOST: usize = 3;
