//! Errors of paths: an owner or mode that other users could exploit, and failed system calls.

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
    /// It has further hard links, so it may be another file under this name.
    #[error("it has {0} names")]
    Names(u64),
    /// It is a FIFO, a directory or a device.
    #[error("it isn't a regular file")]
    Kind,
}

/// The text of a system error without its number: "(os error 2)" doesn't help the reader of a message.
#[must_use]
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error ").map_or(text.as_str(), |(words, _)| words).to_owned()
}

/// Turns a system error into that of an operation on a path.
pub(crate) fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> PathError {
    let path = path.to_owned();
    move |source| PathError { operation, path: path.clone(), source }
}
