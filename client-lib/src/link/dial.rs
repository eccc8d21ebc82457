//! From an address to a connection: which broker, and whether to believe it is one.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::Duration,
};

use ipc_protocol::{
    ErrorCode,
    transport::{Address, AddressError, credentials, socket},
};

use crate::{error::Error, link::blocking::Connection, session::Role};

/// How to reach a broker, as often as needed.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    address: Address,
    trust: Trust,
    agent: String,
    patience: Duration,
}

/// Whom a socket may belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// The address was chosen: whoever listens there is meant.
    Chosen,
    /// The address was found by the default search, maybe in a directory that others can write to: only root's broker or our own.
    Searched,
}

impl Dial {
    /// The broker that the environment points to.
    ///
    /// # Errors
    /// `usage` if a variable holds no address.
    pub(crate) fn from_environment() -> Result<Self, Error> {
        let variable = |name: &str| std::env::var_os(name);
        let trust = match variable("IPCD_SOCKET") {
            Some(chosen) if !chosen.is_empty() => Trust::Chosen,
            _ => Trust::Searched,
        };
        let address = Address::from_environment(variable, own_uid()).map_err(|error| bad_address(&error))?;
        Ok(Self { trust, ..Self::to(address) })
    }

    /// The broker at an address.
    pub(crate) fn to(address: Address) -> Self {
        Self { address, trust: Trust::Chosen, agent: own_name(), patience: PATIENCE }
    }

    pub(crate) fn agent(&mut self, agent: &str) {
        agent.clone_into(&mut self.agent);
    }

    pub(crate) fn patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Whether a second connection is possible: an inherited descriptor is one for good.
    pub(crate) fn can_redial(&self) -> bool {
        !matches!(self.address, Address::Fd(_))
    }

    /// Connects. Waits at most `patience`, and not longer than its own, for a broker that is too busy to accept.
    ///
    /// # Errors
    /// `unavailable` if nobody listens there, `denied` if the socket may not be opened or belongs to a stranger.
    pub(crate) fn connect(&self, patience: Duration, role: Role) -> Result<Connection, Error> {
        let socket = socket::connect_stream(&self.address, patience.min(self.patience))
            .map_err(|error| refused(&self.address, &error))?;
        self.check_owner(&socket)?;
        Ok(Connection::new(socket, self.address.to_string(), &self.agent, role))
    }

    /// The address of the datagram socket.
    ///
    /// # Errors
    /// `usage` for an inherited descriptor.
    pub(crate) fn datagram_address(&self) -> Result<Address, Error> {
        let text = "an inherited descriptor has no datagram socket beside it";
        self.address.datagram().ok_or_else(|| Error::new(ErrorCode::USAGE, text))
    }

    /// Refuses a broker of a stranger, where the address was searched: anybody can make `/tmp/ipcd-UID` before its owner does, and
    /// would get all calls.
    ///
    /// # Errors
    /// `denied`.
    pub(crate) fn check_uid(&self, owner: u32) -> Result<(), Error> {
        if self.is_wary() { check_uid(owner, own_uid(), &self.address) } else { Ok(()) }
    }

    fn check_owner(&self, socket: &OwnedFd) -> Result<(), Error> {
        if !self.is_wary() {
            return Ok(()); // asking the kernel costs several system calls
        }
        let owner = credentials::of_peer(socket.as_fd()).map_err(|error| refused(&self.address, &error))?.uid;
        self.check_uid(owner)
    }

    fn is_wary(&self) -> bool {
        self.trust == Trust::Searched && own_uid() != 0
    }
}

/// An `OwnedFd` that a caller says is a connection to a broker.
///
/// # Errors
/// `usage` if it is no stream socket.
pub(crate) fn adopt(fd: OwnedFd) -> Result<Connection, Error> {
    check_stream(&fd)?;
    Ok(Connection::new(fd, "a given descriptor".to_owned(), &own_name(), Role::Caller))
}

fn check_stream(fd: &OwnedFd) -> Result<(), Error> {
    match rustix::net::sockopt::socket_type(fd) {
        Ok(rustix::net::SocketType::STREAM) => Ok(()),
        Ok(_) => Err(Error::new(ErrorCode::USAGE, "the descriptor is a socket, but no stream socket")),
        Err(error) => Err(Error::new(ErrorCode::USAGE, format!("the descriptor is no socket ({error})"))),
    }
}

/// What a failed connect(2) means for the caller.
pub(crate) fn refused(address: &Address, error: &io::Error) -> Error {
    if let Address::Fd(_) = address {
        let is_misuse = error.kind() == io::ErrorKind::InvalidInput;
        return Error::new(if is_misuse { ErrorCode::USAGE } else { ErrorCode::UNAVAILABLE }, error.to_string());
    }
    let (code, hint) = match error.kind() {
        io::ErrorKind::PermissionDenied => (ErrorCode::DENIED, "its mode or that of its directory keeps this user out"),
        io::ErrorKind::TimedOut => (ErrorCode::UNAVAILABLE, "it does not accept connections in time"),
        _ => (
            ErrorCode::UNAVAILABLE,
            "start one with `ipcd --socket PATH`, or run the command under `ipcctl run -- CMD`",
        ),
    };
    let what = if code == ErrorCode::DENIED { "the broker may not be used" } else { "no broker answers" };
    Error::new(code, format!("{what} at {address}: {error} ({hint})"))
}

fn check_uid(owner: u32, own: u32, address: &Address) -> Result<(), Error> {
    if owner == 0 || owner == own {
        return Ok(());
    }
    let text = format!(
        "the socket {address} belongs to uid {owner}, not to root or to this user (uid {own}): it may be an impostor's \
         (set IPCD_SOCKET if it is meant)"
    );
    Err(Error::new(ErrorCode::DENIED, text))
}

fn bad_address(error: &AddressError) -> Error {
    Error::new(ErrorCode::USAGE, format!("the environment names no address of a broker: {error}"))
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The name of this program, for people who look at the list of peers.
fn own_name() -> String {
    let arg0 = std::env::args_os().next().unwrap_or_default();
    Path::new(&arg0).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// How long a broker may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_a_stranger_is_refused() {
        let address = Address::Path("/tmp/ipcd-1000/ipcd.sock".into());
        assert!(check_uid(0, 1000, &address).is_ok());
        assert!(check_uid(1000, 1000, &address).is_ok());
        let error = check_uid(1001, 1000, &address).unwrap_err();
        assert_eq!(error.code(), ErrorCode::DENIED);
        assert!(error.text().contains("belongs to uid 1001"));
    }

    #[test]
    fn a_missing_broker_is_unavailable_and_named() {
        let dial = Dial::to(Address::Path("/nonexistent/ipcd.sock".into()));
        let error = dial.connect(PATIENCE, Role::Caller).unwrap_err();
        assert_eq!(error.code(), ErrorCode::UNAVAILABLE);
        assert!(error.text().contains("/nonexistent/ipcd.sock"), "{error}");
        assert!(error.text().contains("ipcd --socket"), "{error}");
    }

    #[test]
    fn a_descriptor_that_is_no_stream_socket_is_misuse() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(adopt(file.into()).unwrap_err().code(), ErrorCode::USAGE);
        let (datagram, _) = std::os::unix::net::UnixDatagram::pair().unwrap();
        assert_eq!(adopt(datagram.into()).unwrap_err().code(), ErrorCode::USAGE);
    }
}
