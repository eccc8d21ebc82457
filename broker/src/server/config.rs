//! The configuration: defaults, changed by a file and the command line. It is checked completely before anything starts.

use std::path::{Path, PathBuf};

use ipc_protocol::transport::{Address, AddressError};

use super::config_file::{ConfigFile, FileError};
use crate::core::Limits;

/// The broker's settings.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The address to listen at.
    pub socket: Address,
    /// Whether to open the datagram socket beside the stream socket.
    pub datagram: bool,
    /// The limits.
    pub limits: Limits,
    /// The file that the limits came from, which HUP reads again.
    pub file: Option<PathBuf>,
    /// Whether to log connections as they come and go.
    pub verbose: bool,
}

/// Why a configuration isn't used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The address is malformed.
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl Config {
    /// The defaults with an address.
    #[must_use]
    pub fn new(socket: Address) -> Self {
        Self { socket, datagram: true, limits: Limits::default(), file: None, verbose: false }
    }

    /// The defaults, changed by a file. `socket` overrides the file's address, and `fallback` is used if there is neither.
    ///
    /// # Errors
    /// [`ConfigError`] says what is wrong with the file or the address.
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
    /// [`FileError`]. The old limits then stay in force.
    pub(crate) fn reload(&self) -> Result<Limits, FileError> {
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
