//! Configuration: one struct with defaults, from the command line and a TOML file. Everything is checked before anything starts.

use std::{
    io,
    path::{Path, PathBuf},
};

use ipc_protocol::transport::{Address, AddressError};
use serde::Deserialize;

use crate::core::Limits;

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

/// Why a configuration is not used.
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
    /// The file is no TOML, or has an unknown key or a wrong value; says line and column.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and what.
        reason: String,
    },
    /// The address is none.
    #[error("{0}")]
    Address(#[from] AddressError),
}

/// The file. Unknown keys are refused: a misspelt limit must not be a missing one.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    socket: Option<String>,
    datagram: Option<bool>,
    limits: Limits,
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
        let file = File::read(path)?;
        let of_file = || file.socket.as_deref().map(|text| Address::parse(text.as_ref()));
        let socket = match socket.map(Ok).or_else(of_file) {
            Some(socket) => socket?,
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
            Some(path) => Ok(File::read(path)?.limits),
        }
    }
}

impl File {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let malformed = |reason: String| ConfigError::Malformed { path: path.to_owned(), reason };
        // A FIFO or a device would block the broker when it reloads.
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let file: Self = toml::from_str(&text).map_err(|error| malformed(mistake(&text, &error)))?;
        file.limits.check().map_err(malformed)?;
        Ok(file)
    }
}

/// A mistake in one line; the parser's own words are a drawing of several.
fn mistake(text: &str, error: &toml::de::Error) -> String {
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return error.message().replace('\n', "; ");
    };
    let number = before.matches('\n').count();
    let line = text.lines().nth(number).unwrap_or_default().trim();
    format!("line {}, '{line}': {}", number + 1, error.message().replace('\n', "; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipcd.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path, None, || Address::parse("/fallback".as_ref())).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_changes_what_it_names_and_nothing_else() {
        let config = load("socket = \"/run/x\"\n[limits]\ncalls_per_caller = 7\n").unwrap();
        assert_eq!(config.socket, Address::Path("/run/x".into()));
        assert_eq!(config.limits, Limits { calls_per_caller: 7, ..Limits::default() });
    }

    #[test]
    fn an_empty_file_is_the_default() {
        let config = load("").unwrap();
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.socket, Address::Path("/fallback".into()));
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        assert!(load("[limits]\ncalls_per_calller = 7\n").unwrap_err().contains("line 2"));
        assert!(load("[limits]\ncalls_per_caller = -1\n").unwrap_err().contains("line 2"));
        assert!(load("[limits]\ncalls_per_caller = 0\n").unwrap_err().contains("calls_per_caller"));
        assert!(load("[limits]\nbody_bytes = 2000000\n").unwrap_err().contains("body_bytes"));
    }

    #[test]
    fn a_mistake_is_shown_with_the_line_as_it_was_written() {
        let told = load("# ü\n[limits]\nhello_ms = \"x\"\n").unwrap_err();
        assert!(
            told.ends_with("ipcd.toml: line 3, 'hello_ms = \"x\"': invalid type: string \"x\", expected u64"),
            "{told}"
        );
    }
}
