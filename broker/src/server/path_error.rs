//! What can be wrong with a path, as other users could take advantage of its owner or mode; and how a failed system call is worded.

use std::{
    io,
    path::{Path, PathBuf},
};

/// An operation on a path that failed.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {operation}: {}", path.display(), plain(source))]
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

/// What the system says, without its number: "(os error 2)" helps no reader of a message.
#[must_use]
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error ").map_or(text.as_str(), |(words, _)| words).to_owned()
}

/// Makes the error of an operation on a path from what the system says.
pub(crate) fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> PathError {
    let path = path.to_owned();
    move |source| PathError { operation, path: path.clone(), source }
}
