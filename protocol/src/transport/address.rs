//! Where the broker is: a path, an abstract name, or a descriptor that was inherited.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use crate::wire::limits::{DATAGRAM_SUFFIX, MAX_SOCKET_PATH};

/// Address of a broker.
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

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing was given.
    #[error("an address must not be empty")]
    Empty,
    /// `sun_path` cannot hold it.
    #[error("the socket path {path:?} has {len} bytes, at most {MAX_SOCKET_PATH} are possible (unix(7))")]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its bytes.
        len: usize,
    },
    /// A NUL in a path.
    #[error("the socket path {0:?} contains a NUL byte")]
    Nul(PathBuf),
    /// `fd:` without a number.
    #[error("'fd:' wants the number of an inherited descriptor, as in fd:3 (found {0:?})")]
    BadFd(String),
}

impl Address {
    /// Parses `PATH`, `@name` (abstract) or `fd:N` (inherited).
    ///
    /// # Errors
    /// [`AddressError`] says what is wrong with it.
    pub fn parse(text: &OsStr) -> Result<Self, AddressError> {
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return Err(AddressError::Empty);
        }
        if let Some(number) = bytes.strip_prefix(b"fd:") {
            let number = String::from_utf8_lossy(number);
            return number
                .parse()
                .ok()
                .filter(|n| *n >= 0)
                .map(Self::Fd)
                .ok_or(AddressError::BadFd(number.into_owned()));
        }
        let (name, is_abstract) = match bytes.strip_prefix(b"@") {
            Some(name) => (name, true),
            None => (bytes, false),
        };
        let path = || PathBuf::from(OsString::from_vec(bytes.to_vec()));
        if name.is_empty() {
            return Err(AddressError::Empty);
        }
        if bytes.len() > MAX_SOCKET_PATH {
            return Err(AddressError::TooLong { path: path(), len: bytes.len() });
        }
        if is_abstract {
            return Ok(Self::Abstract(name.to_vec()));
        }
        if name.contains(&0) {
            return Err(AddressError::Nul(path()));
        }
        Ok(Self::Path(path()))
    }

    /// The address used when none is given: `$IPCD_SOCKET`, else `$XDG_RUNTIME_DIR/ipcd/ipcd.sock`, else `/run/ipcd/ipcd.sock`
    /// for root, else `/tmp/ipcd-UID/ipcd.sock`. The environment is an argument, so that this can be tested.
    ///
    /// # Errors
    /// [`AddressError`] if a variable holds no address.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>, uid: u32) -> Result<Self, AddressError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        if let Some(socket) = set("IPCD_SOCKET") {
            return Self::parse(&socket);
        }
        let directory = match set("XDG_RUNTIME_DIR") {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, AddressError> {
        Address::parse(OsStr::new(text))
    }

    fn default_of(variables: &[(&str, &str)], uid: u32) -> String {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        Address::from_environment(find, uid).unwrap().to_string()
    }

    #[test]
    fn three_kinds_of_address() {
        assert_eq!(parse("/run/x.sock"), Ok(Address::Path("/run/x.sock".into())));
        assert_eq!(parse("@x"), Ok(Address::Abstract(b"x".to_vec())));
        assert_eq!(parse("fd:3"), Ok(Address::Fd(3)));
        assert!(matches!(parse("fd:-1"), Err(AddressError::BadFd(_))));
        assert_eq!(parse("@"), Err(AddressError::Empty));
    }

    #[test]
    fn a_path_that_sun_path_cannot_hold_is_refused() {
        assert!(parse(&"x".repeat(MAX_SOCKET_PATH)).is_ok());
        assert!(matches!(parse(&"x".repeat(MAX_SOCKET_PATH + 1)), Err(AddressError::TooLong { len: 102, .. })));
    }

    #[test]
    fn the_default_follows_the_environment() {
        assert_eq!(default_of(&[("IPCD_SOCKET", "/a"), ("XDG_RUNTIME_DIR", "/b")], 1000), "/a");
        assert_eq!(default_of(&[("IPCD_SOCKET", ""), ("XDG_RUNTIME_DIR", "/b")], 1000), "/b/ipcd/ipcd.sock");
        assert_eq!(default_of(&[], 0), "/run/ipcd/ipcd.sock");
        assert_eq!(default_of(&[], 1000), "/tmp/ipcd-1000/ipcd.sock");
    }

    #[test]
    fn the_datagram_socket_is_beside_the_stream_socket() {
        assert_eq!(parse("/run/x").unwrap().datagram(), parse("/run/x.dgram").ok());
        assert_eq!(parse("fd:3").unwrap().datagram(), None);
    }
}
