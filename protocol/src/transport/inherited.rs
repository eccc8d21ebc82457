//! Sockets that a process was started with: addresses `fd:N`, and what a service manager hands down.
//!
//! A number says nothing about who owns the descriptor: in a program of several libraries it may be any of theirs. So the original
//! is never closed, and what is used is a copy, once it has proved to be a socket of the wanted kind. The socket itself is shared
//! with the original: closing the copy doesn't end the connection, shutdown(2) does.

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use rustix::net::{AddressFamily, SocketType, getpeername, sockopt};

use crate::transport::{
    fd,
    poll::{self, PollFd, PollFlags},
    rights,
};

/// Why a number isn't the socket that is wanted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InheritError {
    /// No descriptor has the number.
    #[error("descriptor {0} isn't open")]
    NotOpen(i32),
    /// Standard input, output and error belong to the program.
    #[error("fd:{0} is a standard stream; an inherited socket has the number 3 or a higher one")]
    StandardStream(i32),
    /// A file, or a socket of another family.
    #[error("descriptor {0} isn't an AF_UNIX socket")]
    NotUnixSocket(i32),
    /// Something else than a connection, for a client.
    #[error("descriptor {0} isn't a connected stream socket")]
    NotConnected(i32),
    /// The connection is over: an earlier client shut it down, or the broker closed it.
    #[error("the connection on fd:{0} has ended: an inherited connection is good for one client")]
    Ended(i32),
    /// Something else than a listener, for a broker.
    #[error("descriptor {0} isn't a listening stream socket")]
    NotListening(i32),
    /// Of no kind that a broker serves.
    #[error("descriptor {0} is neither a listening stream socket nor a datagram socket")]
    NotServable(i32),
    /// The same socket is in use already, by this number or another one. A connection has one hello, so it can't be shared.
    #[error("fd:{0} is in use by another connection of this process")]
    InUse(i32),
    /// A broker of this process serves the same socket, or did: two would take connections from each other.
    #[error("descriptor {0} was given to another broker of this process")]
    Served(i32),
    /// A system call failed.
    #[error("descriptor {number} can't be used: {error}")]
    System {
        /// The number.
        number: i32,
        /// How it failed.
        error: io::Error,
    },
}

impl From<InheritError> for io::Error {
    fn from(error: InheritError) -> Self {
        let kind = match error {
            InheritError::NotOpen(_) | InheritError::Ended(_) => io::ErrorKind::NotConnected,
            InheritError::System { ref error, .. } => error.kind(),
            _ => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

/// A socket for a broker.
#[derive(Debug)]
pub enum Served {
    /// A stream socket that listens.
    Listener(OwnedFd),
    /// A datagram socket.
    Datagram(OwnedFd),
}

/// The connected stream socket under a number, for a client.
///
/// # Errors
/// [`InheritError`] if it is anything else, or in use already. Nothing is changed then.
pub fn connection(number: i32) -> Result<OwnedFd, InheritError> {
    let socket = unix_socket(number)?;
    match kind(number, &socket)? {
        Kind::Connected if has_ended(&socket) => Err(InheritError::Ended(number)),
        Kind::Connected => claim(number, socket, InheritError::InUse),
        Kind::Listening | Kind::Datagram | Kind::Other => Err(InheritError::NotConnected(number)),
    }
}

/// The listening stream socket under a number, for a broker.
///
/// # Errors
/// [`InheritError`] if it is anything else, or in use already. Nothing is changed then.
pub fn listener(number: i32) -> Result<OwnedFd, InheritError> {
    let socket = unix_socket(number)?;
    match kind(number, &socket)? {
        Kind::Listening => serve(number, socket),
        Kind::Connected | Kind::Datagram | Kind::Other => Err(InheritError::NotListening(number)),
    }
}

/// The socket under a number that a service manager handed to a broker: a listening or a datagram one.
///
/// # Errors
/// [`InheritError`] if it is anything else, or in use already. Nothing is changed then.
pub fn served(number: i32) -> Result<Served, InheritError> {
    let socket = unix_socket(number)?;
    match kind(number, &socket)? {
        Kind::Listening => serve(number, socket).map(Served::Listener),
        Kind::Datagram => serve(number, socket).map(Served::Datagram),
        Kind::Connected | Kind::Other => Err(InheritError::NotServable(number)),
    }
}

/// What an AF_UNIX socket is good for.
#[derive(Clone, Copy)]
enum Kind {
    Connected,
    Listening,
    Datagram,
    Other,
}

/// A copy of the socket. It has to be AF_UNIX: peers of other families have no credentials.
fn unix_socket(number: i32) -> Result<OwnedFd, InheritError> {
    if (0..=2).contains(&number) {
        return Err(InheritError::StandardStream(number));
    }
    let copy = fd::duplicate(number).map_err(|error| match error.raw_os_error() {
        Some(nix::libc::EBADF) => InheritError::NotOpen(number),
        _ => InheritError::System { number, error },
    })?;
    match sockopt::socket_domain(&copy) {
        Ok(AddressFamily::UNIX) => Ok(copy),
        Ok(_) | Err(_) => Err(InheritError::NotUnixSocket(number)), // ENOTSOCK
    }
}

fn kind(number: i32, socket: &OwnedFd) -> Result<Kind, InheritError> {
    let system = |error: rustix::io::Errno| InheritError::System { number, error: error.into() };
    Ok(match sockopt::socket_type(socket).map_err(system)? {
        SocketType::DGRAM => Kind::Datagram,
        SocketType::STREAM if sockopt::socket_acceptconn(socket).map_err(system)? => Kind::Listening,
        SocketType::STREAM if getpeername(socket).is_ok() => Kind::Connected,
        _ => Kind::Other,
    })
}

/// Whether nothing can be sent, and nothing is left to read: a broker that refuses a connection says why before it closes it.
fn has_ended(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::empty())];
    let hung_up = poll::wait(&mut fds, Some(Instant::now())).is_ok() && fds[0].revents().contains(PollFlags::HUP);
    hung_up && rustix::io::ioctl_fionread(socket).is_ok_and(|unread| unread == 0)
}

fn serve(number: i32, socket: OwnedFd) -> Result<OwnedFd, InheritError> {
    let socket = claim(number, socket, InheritError::Served)?;
    rights::keep_out(&socket).map_err(|error| InheritError::System { number, error })?;
    Ok(socket)
}

/// Notes that the socket is in use, by its inode: a number may be closed and become another socket, which is free. The note stays
/// when the copy is closed, because the connection has had its hello; it goes when another socket is used under the number.
fn claim(number: i32, socket: OwnedFd, taken: fn(i32) -> InheritError) -> Result<OwnedFd, InheritError> {
    static IN_USE: Mutex<BTreeMap<i32, u64>> = Mutex::new(BTreeMap::new());
    let system = |error| InheritError::System { number, error };
    let inode = rustix::fs::fstat(&socket).map_err(|error| system(error.into()))?.st_ino;
    let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    if in_use.values().any(|noted| *noted == inode) {
        return Err(taken(number));
    }
    fd::close_on_exec(number).map_err(system)?;
    in_use.insert(number, inode);
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::os::{
        fd::{AsFd, AsRawFd},
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    };

    use super::*;

    fn number_of(socket: &impl AsFd) -> i32 {
        socket.as_fd().as_raw_fd()
    }

    #[test]
    fn each_kind_of_socket_is_taken_for_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let stream = UnixListener::bind(directory.path().join("s")).unwrap();
        let datagram = UnixDatagram::unbound().unwrap();
        let (connected, _other) = UnixStream::pair().unwrap();

        assert!(matches!(connection(number_of(&stream)), Err(InheritError::NotConnected(_))));
        assert!(matches!(connection(number_of(&datagram)), Err(InheritError::NotConnected(_))));
        assert!(matches!(listener(number_of(&datagram)), Err(InheritError::NotListening(_))));
        assert!(matches!(listener(number_of(&connected)), Err(InheritError::NotListening(_))));
        assert!(matches!(served(number_of(&connected)), Err(InheritError::NotServable(_))));

        assert!(connection(number_of(&connected)).is_ok());
        assert!(matches!(served(number_of(&stream)), Ok(Served::Listener(_))));
        assert!(matches!(served(number_of(&datagram)), Ok(Served::Datagram(_))));
        assert!(matches!(listener(number_of(&stream)), Err(InheritError::Served(_))));
    }

    #[test]
    fn a_socket_that_was_refused_is_not_marked() {
        let (connected, _other) = UnixStream::pair().unwrap();
        rustix::io::fcntl_setfd(&connected, rustix::io::FdFlags::empty()).unwrap();

        assert!(listener(number_of(&connected)).is_err());
        assert!(rustix::io::fcntl_getfd(&connected).unwrap().is_empty());

        assert!(connection(number_of(&connected)).is_ok(), "nor in use");
        assert_eq!(rustix::io::fcntl_getfd(&connected).unwrap(), rustix::io::FdFlags::CLOEXEC);
    }

    #[test]
    fn the_copy_is_used_once_and_the_original_lives_on() {
        let (connected, mut other) = UnixStream::pair().unwrap();
        drop(connection(number_of(&connected)).unwrap());
        assert!(matches!(connection(number_of(&connected)), Err(InheritError::InUse(_))));
        std::io::Write::write_all(&mut other, b"x").unwrap();
        assert_eq!(rustix::net::recv(&connected, &mut [0; 8], rustix::net::RecvFlags::empty()).unwrap().0, 1);
    }

    #[test]
    fn a_stream_socket_that_is_not_connected_is_of_no_use() {
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        assert!(matches!(connection(number_of(&socket)), Err(InheritError::NotConnected(_))));
        assert!(matches!(served(number_of(&socket)), Err(InheritError::NotServable(_))));
    }

    #[test]
    fn a_connection_that_has_ended_is_refused_once_its_last_words_are_read() {
        let (connected, mut other) = UnixStream::pair().unwrap();
        std::io::Write::write_all(&mut other, b"x").unwrap();
        drop(other);
        let copy = connection(number_of(&connected)).unwrap();
        rustix::net::recv(&copy, &mut [0; 8], rustix::net::RecvFlags::empty()).unwrap();
        assert!(matches!(connection(number_of(&connected)), Err(InheritError::Ended(_))));
    }

    #[test]
    fn a_copy_is_close_on_exec() {
        let (connected, _other) = UnixStream::pair().unwrap();
        let copy = connection(number_of(&connected)).unwrap();
        assert_eq!(rustix::io::fcntl_getfd(&copy).unwrap(), rustix::io::FdFlags::CLOEXEC);
        assert_ne!(number_of(&copy), number_of(&connected));
    }
}
