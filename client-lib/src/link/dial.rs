//! From an address to a connection: which broker, and whether to believe it is one.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
    time::Duration,
};

use ipc_protocol::{
    ErrorCode,
    transport::{Address, AddressError, credentials, socket},
};

use crate::{
    error::{Error, reason},
    link::{
        blocking::Connection,
        channel::{self, Channel},
    },
    session::Role,
};

/// How to reach a broker, as often as needed.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    to: To,
    origin: Origin,
    agent: String,
    patience: Duration,
}

/// What is reached.
#[derive(Clone, Debug)]
enum To {
    Address(Address),
    /// No broker at all.
    Channel(Arc<Channel>),
}

/// The source of the address, which decides which users' brokers are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The program, or its user, named it: the broker there is meant, whichever user it belongs to.
    Named,
    /// `$IPCD_SOCKET`. As good as named, but for root: su(1) and sudo -E keep the variable of the user that they were called by.
    Variable,
    /// The default search, maybe in a directory that others can write to.
    Searched,
}

impl Dial {
    /// The broker that the environment points to.
    ///
    /// # Errors
    /// `usage` if a variable holds no address.
    pub(crate) fn from_environment() -> Result<Self, Error> {
        let variable = |name: &str| std::env::var_os(name);
        let origin = match variable("IPCD_SOCKET") {
            Some(chosen) if !chosen.is_empty() => Origin::Variable,
            _ => Origin::Searched,
        };
        let address = Address::from_environment(variable, own_uid()).map_err(|error| bad_address(&error))?;
        Ok(Self { origin, ..Self::to(address) })
    }

    /// The broker at an address.
    pub(crate) fn to(address: Address) -> Self {
        Self { to: To::Address(address), origin: Origin::Named, agent: own_name(), patience: PATIENCE }
    }

    /// The other ends of a channel.
    pub(crate) fn within(channel: &Arc<Channel>) -> Self {
        Self { to: To::Channel(channel.clone()), origin: Origin::Named, agent: own_name(), patience: PATIENCE }
    }

    pub(crate) fn agent(&mut self, agent: &str) {
        agent.clone_into(&mut self.agent);
    }

    pub(crate) fn patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Whether a second connection is possible: an inherited descriptor is one for good, and an end of a channel only its owner closes.
    pub(crate) fn can_redial(&self) -> bool {
        !matches!(self.to, To::Address(Address::Fd(_)) | To::Channel(_))
    }

    /// Connects. Waits up to `patience`, and no longer than its own, for a broker that is too busy to accept.
    ///
    /// # Errors
    /// `unavailable` if no broker listens there, `denied` if the socket may not be opened or belongs to a stranger.
    pub(crate) fn connect(&self, patience: Duration, role: Role) -> Result<Connection, Error> {
        match self.end()? {
            Some(end) => Ok(Connection::of_channel(end, &self.agent, role)),
            None => Ok(Connection::new(self.open(patience)?, self.place(), &self.agent, role)),
        }
    }

    /// An end of the channel, if it is one that is reached.
    ///
    /// # Errors
    /// As [`Channel::open`].
    pub(crate) fn end(&self) -> Result<Option<channel::End>, Error> {
        match &self.to {
            To::Address(_) => Ok(None),
            To::Channel(channel) => channel.open().map(Some),
        }
    }

    /// Connects, and says nothing. Waits as [`Dial::connect`] does.
    ///
    /// # Errors
    /// As [`Dial::connect`].
    pub(crate) fn open(&self, patience: Duration) -> Result<OwnedFd, Error> {
        let To::Address(address) = &self.to else {
            return Err(Error::new(ErrorCode::UNAVAILABLE, "a connected pair has no socket"));
        };
        let socket =
            socket::connect_stream(address, patience.min(self.patience)).map_err(|error| refused(address, error))?;
        self.check_peer(address, &socket)?;
        Ok(socket)
    }

    /// Where the broker is.
    pub(crate) fn place(&self) -> String {
        match &self.to {
            To::Address(address) => address.to_string(),
            To::Channel(_) => channel::PLACE.to_owned(),
        }
    }

    /// What the list of peers is to show.
    #[cfg(feature = "tokio")]
    pub(crate) fn name(&self) -> &str {
        &self.agent
    }

    /// How long a broker may take to accept a connection.
    #[cfg(feature = "tokio")]
    pub(crate) fn longest(&self) -> Duration {
        self.patience
    }

    /// The address of the datagram socket.
    ///
    /// # Errors
    /// `usage` for an inherited descriptor.
    pub(crate) fn datagram_address(&self) -> Result<Address, Error> {
        let text = "an inherited descriptor has no datagram socket beside it";
        let beside = match &self.to {
            To::Address(address) => address.datagram(),
            To::Channel(_) => None,
        };
        beside.ok_or_else(|| Error::new(ErrorCode::USAGE, text))
    }

    /// Refuses a broker of a stranger, which would receive all calls: any user can make `/tmp/ipcd-UID` before its owner does, and a
    /// variable of the environment may be that of the user that root was before.
    ///
    /// # Errors
    /// `denied`.
    pub(crate) fn check_owner(&self, owner: u32) -> Result<(), Error> {
        let own = own_uid();
        if !self.is_wary(own) || owner == 0 || owner == own {
            return Ok(());
        }
        let remedy = match self.origin {
            Origin::Variable => {
                "IPCD_SOCKET leads root to the broker of another user: unset it, or name the broker with -s if it is meant"
            }
            Origin::Searched if own == 0 => {
                "it was found by XDG_RUNTIME_DIR or in /tmp: unset that, or name the broker with -s if it is meant"
            }
            Origin::Searched | Origin::Named => {
                "it may be an impostor: set IPCD_SOCKET, or name the broker with -s, if it is meant"
            }
        };
        let whom =
            if own == 0 { "not to root".to_owned() } else { format!("neither to root nor to this user (uid {own})") };
        let text = format!("the socket {} belongs to uid {owner}, {whom} ({remedy})", self.place());
        Err(Error::new(ErrorCode::DENIED, text))
    }

    /// Whether the broker's user matters. To ask the kernel takes several system calls.
    pub(crate) fn is_wary(&self, own: u32) -> bool {
        match self.origin {
            Origin::Named => false,
            Origin::Variable => own == 0,
            Origin::Searched => true,
        }
    }

    fn check_peer(&self, address: &Address, socket: &OwnedFd) -> Result<(), Error> {
        if !self.is_wary(own_uid()) {
            return Ok(());
        }
        let owner = credentials::of_peer(socket.as_fd()).map_err(|error| refused(address, error))?.uid;
        self.check_owner(owner)
    }
}

/// An `OwnedFd` that a caller says is a connection to a broker.
///
/// # Errors
/// `usage` if it isn't a stream socket.
pub(crate) fn adopt(fd: OwnedFd) -> Result<Connection, Error> {
    let (fd, name) = checked(fd)?;
    Ok(Connection::new(fd, GIVEN.to_owned(), &name, Role::Caller))
}

/// The descriptor, and the name of this program for the list of peers.
///
/// # Errors
/// As [`adopt`].
pub(crate) fn checked(fd: OwnedFd) -> Result<(OwnedFd, String), Error> {
    check_stream(&fd)?;
    Ok((fd, own_name()))
}

fn check_stream(fd: &OwnedFd) -> Result<(), Error> {
    match rustix::net::sockopt::socket_type(fd) {
        Ok(rustix::net::SocketType::STREAM) => Ok(()),
        Ok(_) => Err(Error::new(ErrorCode::USAGE, "the descriptor is a socket, but not a stream socket")),
        Err(error) => Err(Error::new(ErrorCode::USAGE, "the descriptor isn't a socket").caused_by(error.into())),
    }
}

/// What a failed connect(2) means for the caller.
pub(crate) fn refused(address: &Address, error: io::Error) -> Error {
    if let Address::Fd(_) = address {
        let is_misuse = error.kind() == io::ErrorKind::InvalidInput;
        let code = if is_misuse { ErrorCode::USAGE } else { ErrorCode::UNAVAILABLE };
        return Error::new(code, error.to_string()).caused_by(error);
    }
    let unavailable = |text: String| Error::new(ErrorCode::UNAVAILABLE, text);
    match error.kind() {
        io::ErrorKind::NotFound => unavailable(format!("there is no broker at {address}")),
        io::ErrorKind::ConnectionRefused => unavailable(format!("no broker listens at {address}")),
        io::ErrorKind::TimedOut => unavailable(format!("the broker at {address} doesn't accept connections in time")),
        io::ErrorKind::PermissionDenied => {
            let text = format!("the mode of {address} or of a directory above it keeps this user out");
            Error::new(ErrorCode::DENIED, text)
        }
        _ => unavailable(format!("cannot connect to {address}: {}", reason(&error))),
    }
    .caused_by(error)
}

fn bad_address(error: &AddressError) -> Error {
    Error::new(ErrorCode::USAGE, format!("the environment doesn't name the address of a broker: {error}"))
}

pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The name of this program, for people who look at the list of peers.
fn own_name() -> String {
    let arg0 = std::env::args_os().next().unwrap_or_default();
    Path::new(&arg0).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Where a broker is of which only a connection is known.
pub(crate) const GIVEN: &str = "a given descriptor";
/// How long a broker may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn dial(origin: Origin) -> Dial {
        Dial { origin, ..Dial::to(Address::Path("/tmp/ipcd-1000/ipcd.sock".into())) }
    }

    #[test]
    fn a_broker_of_a_stranger_is_refused_unless_it_was_named() {
        let stranger = own_uid() + 1;
        let error = dial(Origin::Searched).check_owner(stranger).unwrap_err();
        assert_eq!(error.code(), ErrorCode::DENIED);
        assert!(error.text().contains(&format!("belongs to uid {stranger}")), "{error}");
        assert!(dial(Origin::Named).check_owner(stranger).is_ok());
        for owner in [0, own_uid()] {
            assert!(dial(Origin::Searched).check_owner(owner).is_ok());
        }
    }

    #[test]
    fn root_is_wary_of_its_environment_too() {
        assert!(dial(Origin::Searched).is_wary(0) && dial(Origin::Variable).is_wary(0));
        assert!(dial(Origin::Searched).is_wary(1_000) && !dial(Origin::Variable).is_wary(1_000));
        assert!(!dial(Origin::Named).is_wary(0) && !dial(Origin::Named).is_wary(1_000));
    }

    #[test]
    fn a_missing_broker_is_unavailable_and_named() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("ipcd.sock");
        let error = Dial::to(Address::Path(socket.clone())).connect(PATIENCE, Role::Caller).unwrap_err();
        assert_eq!(error.code(), ErrorCode::UNAVAILABLE);
        assert!(error.text().contains(socket.to_str().unwrap()), "{error}");
    }

    #[test]
    fn a_descriptor_that_is_no_stream_socket_is_misuse() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(adopt(file.into()).unwrap_err().code(), ErrorCode::USAGE);
        let (datagram, _) = std::os::unix::net::UnixDatagram::pair().unwrap();
        assert_eq!(adopt(datagram.into()).unwrap_err().code(), ErrorCode::USAGE);
    }
}
