//! Configuration: one struct with defaults, from the command line and a file. Everything is checked before anything starts.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::config_file::{ConfigFile, Mistake};
use crate::core::Limits;
use ipc_protocol::transport::{Address, AddressError};

/// Everything that can be configured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen.
    pub socket: Address,
    /// Whether to open the datagram socket beside it.
    pub datagram: bool,
    /// The limits.
    pub limits: Limits,
    /// The file they came from, read again on SIGHUP.
    pub file: Option<PathBuf>,
    /// Whether to log connections and names as they come and go.
    pub verbose: bool,
}

/// Why a configuration isn't used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory, a FIFO, a device.
    #[error("{}: not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Another user decides what is in the file.
    #[error("{}: it belongs to user {owner}, who could configure the broker; it must be root's or the broker's own", path.display())]
    ForeignFile {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Other users can change what is in the file.
    #[error("{}: others may write to it (mode {mode:o}) and so configure the broker; chmod go-w", path.display())]
    WritableFile {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Far more than a configuration can need.
    #[error("{}: it has more than {most} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How many it may have.
        most: u64,
    },
    /// The file isn't TOML, or says what no configuration can.
    #[error("{}", lines(path, mistakes))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The mistakes, in the order of their lines.
        mistakes: Vec<Mistake>,
    },
    /// The address isn't one.
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// A line for each mistake, `FILE:LINE: what`, as editors read it.
fn lines(path: &Path, mistakes: &[Mistake]) -> String {
    let lines: Vec<_> = mistakes.iter().map(|mistake| format!("{}:{mistake}", path.display())).collect();
    lines.join("\n")
}

impl Config {
    /// The defaults, at an address.
    #[must_use]
    pub fn new(socket: Address) -> Self {
        Self { socket, datagram: true, limits: Limits::default(), file: None, verbose: false }
    }

    /// The defaults, changed by a file; `socket` wins over the file's, `fallback` is used if neither names one.
    ///
    /// # Errors
    /// [`ConfigError`] says where the file is wrong.
    pub fn load(
        path: &Path,
        socket: Option<Address>,
        fallback: impl FnOnce() -> Result<Address, AddressError>,
    ) -> Result<Self, ConfigError> {
        let file = ConfigFile::read(path)?;
        let socket = match socket.or(file.socket) {
            Some(socket) => socket,
            None => fallback()?,
        };
        Ok(Self {
            datagram: file.datagram.unwrap_or(true),
            limits: file.limits,
            file: Some(path.to_owned()),
            ..Self::new(socket)
        })
    }

    /// Reads the limits of the file again.
    ///
    /// # Errors
    /// [`ConfigError`]: the old ones stay in force.
    pub(crate) fn reload(&self) -> Result<Limits, ConfigError> {
        match &self.file {
            None => Ok(self.limits.clone()),
            Some(path) => Ok(ConfigFile::read(path)?.limits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(socket: Option<&str>, text: &str) -> Config {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipcd.toml");
        std::fs::write(&path, text).unwrap();
        let address = |text: &str| Address::parse(text.as_ref());
        Config::load(&path, socket.map(|text| address(text).unwrap()), || address("/fallback")).unwrap()
    }

    #[test]
    fn the_argument_wins_over_the_file_and_the_file_over_the_fallback() {
        let text = "socket = '/of/file'\n";
        let socket_of = |config: Config| config.socket.to_string();
        assert_eq!(socket_of(load(Some("/argument"), text)), "/argument");
        assert_eq!(socket_of(load(None, text)), "/of/file");
        assert_eq!(socket_of(load(None, "")), "/fallback");
    }
}
