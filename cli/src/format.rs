//! The form of what is printed, and how much of it: what `-o`, `-q` and `-v` choose.

use clap::ValueEnum;

/// Form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people, and for shell tools that read lines and columns.
    Text,
    /// One JSON document a line.
    Json,
}

/// How much is said on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loudness {
    /// No error lines (`-q`).
    Quiet,
    /// A line when something goes wrong.
    Normal,
    /// What is being done as well (`-v`).
    Verbose,
}
