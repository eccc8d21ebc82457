//! Where the broker is: a path, an abstract name, or an inherited descriptor.

use std::{
    ffi::{OsStr, OsString},
    fmt, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use uds::UnixSocketAddr;

use crate::wire::limits::{DATAGRAM_SUFFIX, MAX_SOCKET_PATH};

/// Address of a broker.
///
/// ```
/// use ipc_protocol::transport::Address;
///
/// assert_eq!("/run/ipcd/ipcd.sock".parse(), Ok(Address::Path("/run/ipcd/ipcd.sock".into())));
/// assert_eq!("@ipcd".parse(), Ok(Address::Abstract(b"ipcd".to_vec())));
/// assert_eq!("fd:3".parse(), Ok(Address::Fd(3)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// A socket in the file system.
    Path(PathBuf),
    /// An abstract name (unix(7)): no mode bits, visible across mount namespaces; never a default.
    Abstract(Vec<u8>),
    /// A descriptor that this process inherited: connected for a client, listening for a broker.
    Fd(i32),
}

/// Why something isn't the address of a broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing was given, or nothing after the `@`.
    #[error("an address must not be empty")]
    Empty,
    /// `sun_path` can't hold it.
    #[error("the socket address {address:?} has {len} bytes, the limit is {limit} (unix(7))")]
    TooLong {
        /// The path, or the abstract name after an `@`.
        address: PathBuf,
        /// How many bytes it has.
        len: usize,
        /// How many it may have.
        limit: usize,
    },
    /// A NUL in a path.
    #[error("the socket path {0:?} contains a NUL byte")]
    Nul(PathBuf),
    /// `fd:` without a number.
    #[error("'fd:' wants the number of an inherited descriptor, as in fd:3 (found {0:?})")]
    BadFd(String),
    /// A descriptor is a socket already: there is nothing to connect or bind to.
    #[error("fd:{0} is a descriptor, not an address to connect or bind to")]
    Descriptor(i32),
}

impl From<AddressError> for io::Error {
    fn from(error: AddressError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

impl Address {
    /// Parses `PATH`, `@name` (abstract) or `fd:N` (inherited).
    ///
    /// # Errors
    /// [`AddressError`] says what is wrong with it.
    pub fn parse(text: &OsStr) -> Result<Self, AddressError> {
        let bytes = text.as_bytes();
        let address = match bytes {
            [b'f', b'd', b':', number @ ..] => return Self::parse_number(number),
            [b'@', name @ ..] => Self::Abstract(name.to_vec()),
            _ => Self::Path(text.into()),
        };
        address.check_len(MAX_SOCKET_PATH)?;
        Ok(address)
    }

    /// The address for the system, of a stream or a datagram socket.
    ///
    /// # Errors
    /// [`AddressError`] if it is a descriptor, or too long for the system.
    pub fn to_unix(&self) -> Result<UnixSocketAddr, AddressError> {
        self.check_len(SUN_PATH_LEN)?;
        let address = match self {
            Self::Path(path) => UnixSocketAddr::from_path(path),
            Self::Abstract(name) => UnixSocketAddr::from_abstract(name),
            Self::Fd(number) => return Err(AddressError::Descriptor(*number)),
        };
        Ok(address.expect("its length was just checked, and a path for NUL bytes"))
    }

    /// The address used when none is given: `$IPCD_SOCKET`, else `$XDG_RUNTIME_DIR/ipcd/ipcd.sock`, else `/run/ipcd/ipcd.sock`
    /// for root, else `/tmp/ipcd-UID/ipcd.sock`. An empty variable counts as not set, and so does a relative `$XDG_RUNTIME_DIR` (XDG
    /// Base Directory Specification). The environment is an argument, so that this can be tested.
    ///
    /// # Errors
    /// [`AddressError`] if a variable doesn't hold an address.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>, uid: u32) -> Result<Self, AddressError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        if let Some(socket) = set("IPCD_SOCKET") {
            return Self::parse(&socket);
        }
        let runtime = set("XDG_RUNTIME_DIR").filter(|directory| Path::new(directory).is_absolute());
        let directory = match runtime {
            Some(runtime) => Path::new(&runtime).join("ipcd"),
            None if uid == 0 => PathBuf::from("/run/ipcd"),
            None => PathBuf::from(format!("/tmp/ipcd-{uid}")),
        };
        Self::parse(directory.join("ipcd.sock").as_os_str())
    }

    /// The address of the datagram socket beside this one; `None` for an inherited descriptor.
    #[must_use]
    pub fn datagram(&self) -> Option<Self> {
        match self {
            Self::Path(path) => {
                let mut with_suffix = path.clone().into_os_string();
                with_suffix.push(DATAGRAM_SUFFIX);
                Some(Self::Path(with_suffix.into()))
            }
            Self::Abstract(name) => Some(Self::Abstract([name, DATAGRAM_SUFFIX.as_bytes()].concat())),
            Self::Fd(_) => None,
        }
    }

    fn parse_number(number: &[u8]) -> Result<Self, AddressError> {
        let number = String::from_utf8_lossy(number);
        let parsed = number.parse().ok().filter(|number| *number >= 0);
        parsed.map(Self::Fd).ok_or_else(|| AddressError::BadFd(number.into_owned()))
    }

    /// An abstract name is as long as the path `@name`: both have a byte in `sun_path` more than their text.
    fn check_len(&self, limit: usize) -> Result<(), AddressError> {
        let (text, is_path) = match self {
            Self::Path(path) => (path.as_os_str().as_bytes(), true),
            Self::Abstract(name) => (&name[..], false),
            Self::Fd(_) => return Ok(()),
        };
        let len = text.len() + usize::from(!is_path);
        let shown = || if is_path { PathBuf::from(OsStr::from_bytes(text)) } else { PathBuf::from(self.to_string()) };
        match text {
            [] => Err(AddressError::Empty),
            _ if len > limit => Err(AddressError::TooLong { address: shown(), len, limit }),
            _ if is_path && text.contains(&0) => Err(AddressError::Nul(shown())),
            _ => Ok(()),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text.as_ref())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
            Self::Fd(number) => write!(f, "fd:{number}"),
        }
    }
}

/// Bytes of a path that every system call takes: `sun_path` less its NUL. uds lets one more through, others don't.
const SUN_PATH_LEN: usize = MAX_SOCKET_PATH + DATAGRAM_SUFFIX.len();

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, AddressError> {
        text.parse()
    }

    fn default_of(variables: &[(&str, &str)], uid: u32) -> String {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        Address::from_environment(find, uid).unwrap().to_string()
    }

    #[test]
    fn an_address_prints_as_it_is_parsed() {
        for text in ["/run/x.sock", "x", "@x", "fd:3"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        assert_eq!([parse(""), parse("@")], [Err(AddressError::Empty), Err(AddressError::Empty)]);
        assert!(matches!(parse("fd:-1"), Err(AddressError::BadFd(number)) if number == "-1"));
        assert!(matches!(parse("fd:"), Err(AddressError::BadFd(_))));
        assert!(matches!(parse("a\0b"), Err(AddressError::Nul(_))));
    }

    #[test]
    fn an_address_that_sun_path_cannot_hold_is_named_with_the_limit() {
        let [path, name] = ["x".repeat(102), format!("@{}", "x".repeat(101))];
        assert!(parse(&path[1..]).is_ok() && parse(&name[..101]).is_ok());
        let told = |text: &str| format!("the socket address {text:?} has 102 bytes, the limit is 101 (unix(7))");
        assert_eq!(parse(&path).unwrap_err().to_string(), told(&path));
        assert_eq!(parse(&name).unwrap_err().to_string(), told(&name));
    }

    #[test]
    fn an_address_that_was_not_parsed_is_checked_when_it_is_used() {
        let long = |len| Address::Path("x".repeat(len).into());
        assert!(long(107).to_unix().is_ok());
        assert!(matches!(long(108).to_unix(), Err(AddressError::TooLong { len: 108, limit: 107, .. })));
        assert!(matches!(Address::Abstract(vec![0; 107]).to_unix(), Err(AddressError::TooLong { len: 108, .. })));
        assert_eq!(Address::Path("".into()).to_unix(), Err(AddressError::Empty));
        assert_eq!(Address::Path("a\0b".into()).to_unix(), Err(AddressError::Nul("a\0b".into())));
        assert_eq!(Address::Fd(3).to_unix(), Err(AddressError::Descriptor(3)));
    }

    #[test]
    fn the_system_gets_the_address_as_it_was_written() {
        assert_eq!(parse("/run/x").unwrap().to_unix().unwrap().as_pathname(), Some(Path::new("/run/x")));
        assert_eq!(parse("@x").unwrap().to_unix().unwrap().as_abstract(), Some(&b"x"[..]));
    }

    #[test]
    fn the_default_follows_the_environment() {
        assert_eq!(default_of(&[("IPCD_SOCKET", "/a"), ("XDG_RUNTIME_DIR", "/b")], 1000), "/a");
        assert_eq!(default_of(&[("IPCD_SOCKET", ""), ("XDG_RUNTIME_DIR", "/b")], 1000), "/b/ipcd/ipcd.sock");
        assert_eq!(default_of(&[("XDG_RUNTIME_DIR", "b")], 1000), "/tmp/ipcd-1000/ipcd.sock");
        assert_eq!(default_of(&[], 0), "/run/ipcd/ipcd.sock");
        assert_eq!(default_of(&[], 1000), "/tmp/ipcd-1000/ipcd.sock");
    }

    #[test]
    fn the_datagram_socket_is_beside_the_stream_socket() {
        assert_eq!(parse("/run/x").unwrap().datagram(), parse("/run/x.dgram").ok());
        assert_eq!(parse("fd:3").unwrap().datagram(), None);
    }
}
