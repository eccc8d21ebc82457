//! What can be wrong with a path: the system says no, or somebody else could use it against the broker.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Something could not be done to a path.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {operation}: {source}", path.display())]
pub struct PathError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Why a file or a directory isn't trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// Neither root's nor the broker's own.
    #[error("it belongs to user {0}")]
    Owner(u32),
    /// Its mode.
    #[error("others may write to it (mode {0:o})")]
    Mode(u32),
    /// It was linked here from elsewhere, perhaps for the broker to overwrite it.
    #[error("it has {0} names")]
    Names(u64),
    /// A FIFO, a directory, a device.
    #[error("it isn't a regular file")]
    Kind,
}

/// Turns what the system says into the error of an operation on a path.
pub(crate) fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> PathError {
    let path = path.to_owned();
    move |source| PathError { operation, path: path.clone(), source }
}
