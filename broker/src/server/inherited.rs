//! Sockets that a service manager opened and handed down (sd_listen_fds(3)): descriptors from 3 on, if they are meant for us.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use ipc_protocol::transport::fd;
use nix::sys::socket::sockopt::PassCred;
use rustix::net::{AddressFamily, SocketType, sockopt};

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
            let (kind, socket) = adopt(number).map_err(|error| invalid(format!("LISTEN_FDS: {error}")))?;
            let place = match kind {
                Kind::Listener => &mut sockets.stream,
                Kind::Datagram => &mut sockets.datagram,
            };
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
    match adopt(number)? {
        (Kind::Listener, socket) => Ok(socket),
        (Kind::Datagram, _) => Err(invalid(format!("descriptor {number} is no listening stream socket"))),
    }
}

/// What an inherited socket is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Listener,
    Datagram,
}

fn adopt(number: i32) -> io::Result<(Kind, OwnedFd)> {
    let refuse = |what: &str| invalid(format!("descriptor {number} {what}"));
    let socket = fd::adopt(number).map_err(|error| refuse(&format!("cannot be taken: {error}")))?;
    let family = sockopt::socket_domain(&socket).map_err(|error| refuse(&format!("is no socket: {error}")))?;
    let kind = match sockopt::socket_type(&socket)? {
        _ if family != AddressFamily::UNIX => return Err(refuse("is no AF_UNIX socket")),
        SocketType::STREAM if sockopt::socket_acceptconn(&socket)? => Kind::Listener,
        SocketType::DGRAM => Kind::Datagram,
        _ => return Err(refuse("is neither a listening stream socket nor a datagram socket")),
    };
    if kind == Kind::Datagram {
        nix::sys::socket::setsockopt(&socket, PassCred, &true)?; // whoever made it need not have asked who sends
    }
    set_nonblocking(&socket)?;
    Ok((kind, socket))
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
