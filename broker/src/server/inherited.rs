//! Sockets that a service manager opened and handed down (sd_listen_fds(3)): descriptors from 3 on, if they are meant for us.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use ipc_protocol::transport::fd;
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
            let refuse = |what: String| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("LISTEN_FDS: descriptor {number} {what}"))
            };
            let socket = fd::adopt(number).map_err(|error| refuse(format!("cannot be taken: {error}")))?;
            let family = sockopt::socket_domain(&socket).map_err(|error| refuse(format!("is no socket: {error}")))?;
            let kind = sockopt::socket_type(&socket)?;
            let place = match kind {
                _ if family != AddressFamily::UNIX => return Err(refuse("is no AF_UNIX socket".to_owned())),
                SocketType::STREAM if sockopt::socket_acceptconn(&socket)? => &mut sockets.stream,
                SocketType::DGRAM => &mut sockets.datagram,
                _ => return Err(refuse("is neither a listening stream socket nor a datagram socket".to_owned())),
            };
            set_nonblocking(&socket)?;
            if place.replace(socket).is_some() {
                return Err(refuse("is the second socket of its kind".to_owned()));
            }
        }
        Ok(sockets)
    }
}

fn set_nonblocking(socket: &impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(socket)?;
    Ok(rustix::fs::fcntl_setfl(socket, flags | rustix::fs::OFlags::NONBLOCK)?)
}

/// SD_LISTEN_FDS_START.
const FIRST: i32 = 3;
/// One stream and one datagram socket, and one too many to say so.
const MOST: usize = 3;
