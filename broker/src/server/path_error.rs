//! What can be wrong with a path: a failed system call, or an owner or mode that other users could take advantage of.

use std::{
    io,
    path::{Path, PathBuf},
};

/// An operation on a path that failed.
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
    /// It belongs to neither root nor the broker's user.
    #[error("it belongs to user {0}")]
    Owner(u32),
    /// Its mode lets other users write.
    #[error("others may write to it (mode {0:o})")]
    Mode(u32),
    /// Hard links: it may be another file under this name.
    #[error("it has {0} names")]
    Names(u64),
    /// A FIFO, a directory, a device.
    #[error("it isn't a regular file")]
    Kind,
}

/// Makes the error of an operation on a path from what the system says.
pub(crate) fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> PathError {
    let path = path.to_owned();
    move |source| PathError { operation, path: path.clone(), source }
}
