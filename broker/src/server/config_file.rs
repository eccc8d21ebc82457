//! The configuration file. It is read only if root and the broker's user alone can change it, and all of its mistakes are reported at
//! once.

use std::{
    fmt,
    fs::{Metadata, OpenOptions},
    io::{self, Read},
    ops::Range,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use ipc_protocol::transport::{Address, AddressError};
use nix::libc;
use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::path_error::plain;
use crate::core::{LimitError, Limits};

/// The content of a file. A missing setting is `None`, a missing limit has its default.
#[derive(Debug, Default)]
pub(crate) struct ConfigFile {
    pub(crate) socket: Option<Address>,
    pub(crate) datagram: Option<bool>,
    pub(crate) limits: Limits,
}

/// Why a configuration file isn't used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {}", path.display(), plain(source))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a directory, a FIFO or a device.
    #[error("{}: not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Another user owns the file.
    #[error("{}: it belongs to user {owner}, who could configure the broker; it must be root's or the broker's own", path.display())]
    ForeignFile {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Other users can write to the file.
    #[error("{}: others may write to it (mode {mode:o}) and so configure the broker; chmod go-w", path.display())]
    WritableFile {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file is far larger than a configuration needs to be.
    #[error("{}: it has more than {most} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        most: u64,
    },
    /// The file has mistakes.
    #[error("{}", located(path, mistakes).join("; "))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The mistakes, in the order of their lines.
        mistakes: Vec<Mistake>,
    },
}

/// A mistake in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong with a line of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The line isn't TOML. The text is the parser's.
    #[error("{0}")]
    Syntax(String),
    /// An unknown key, which is a mistake because a misspelt setting would silently be ignored.
    #[error("'{0}' isn't a setting; there are 'socket', 'datagram' and the section 'limits'")]
    UnknownSetting(String),
    /// An unknown key in `[limits]`.
    #[error("'{0}' isn't a limit ('ipcctl limits' lists them)")]
    UnknownLimit(String),
    /// A value of the wrong type.
    #[error("'{key}' must be {wanted}, not {found}")]
    WrongType {
        /// The key.
        key: String,
        /// The type that it must have.
        wanted: &'static str,
        /// The value that it has.
        found: String,
    },
    /// The value of 'socket' isn't an address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A limit can't have this value.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

impl ConfigFile {
    /// Reads a file, if it can be trusted.
    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        let text = read_trusted(path)?;
        Self::parse(&text).map_err(|mistakes| FileError::Malformed { path: path.to_owned(), mistakes })
    }

    fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        let mut reading = Reading { text, file: Self::default(), mistakes: Vec::new() };
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let problem = Problem::Syntax(error.message().replace('\n', "; "));
            reading.mistake(error.span().unwrap_or_default(), problem);
        }
        // After a syntax error, an unknown key may be the rest of a broken line.
        if reading.mistakes.is_empty() {
            reading.settings(document.get_ref());
        }
        let Reading { file, mut mistakes, .. } = reading;
        mistakes.sort_by_key(|mistake| mistake.line);
        if mistakes.is_empty() { Ok(file) } else { Err(mistakes) }
    }
}

impl FileError {
    /// One line for each mistake. Displaying the error puts them into a single line for logs.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Malformed { path, mistakes } => located(path, mistakes),
            other => vec![other.to_string()],
        }
    }
}

/// A file that is being read.
struct Reading<'t> {
    text: &'t str,
    file: ConfigFile,
    mistakes: Vec<Mistake>,
}

type Key<'t> = Spanned<std::borrow::Cow<'t, str>>;

impl Reading<'_> {
    fn settings(&mut self, table: &DeTable<'_>) {
        for (key, value) in in_order(table) {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("socket", DeValue::String(text)) => match Address::parse(text.as_ref().as_ref()) {
                    Ok(address) => self.file.socket = Some(address),
                    Err(error) => self.mistake(value.span(), error.into()),
                },
                ("datagram", DeValue::Boolean(datagram)) => self.file.datagram = Some(*datagram),
                ("limits", DeValue::Table(limits)) => self.limits(key, limits),
                ("socket", _) => self.wrong_type(key, value, "a string"),
                ("datagram", _) => self.wrong_type(key, value, "true or false"),
                ("limits", _) => self.wrong_type(key, value, "a section"),
                (other, _) => self.mistake(key.span(), Problem::UnknownSetting(other.to_owned())),
            }
        }
    }

    fn limits(&mut self, section: &Key<'_>, table: &DeTable<'_>) {
        for (key, value) in in_order(table) {
            let Some(limit) = self.file.limits.get_mut(key.get_ref()) else {
                self.mistake(key.span(), Problem::UnknownLimit(key.get_ref().to_string()));
                continue;
            };
            match value.get_ref().as_integer().and_then(unsigned) {
                Some(number) => *limit = number,
                None => self.wrong_type(key, value, "a whole number that isn't negative"),
            }
        }
        for error in self.file.limits.mistakes() {
            // A missing limit can be wrong because of the others.
            let key = table.keys().find(|key| key.get_ref() == error.limit()).unwrap_or(section);
            self.mistake(key.span(), error.into());
        }
    }

    fn wrong_type(&mut self, key: &Key<'_>, value: &Spanned<DeValue<'_>>, wanted: &'static str) {
        let found = match self.text.get(value.span()) {
            Some(text) if text.len() <= SHOWN && !text.contains('\n') => text.to_owned(),
            _ => value.get_ref().type_str().to_owned(),
        };
        self.mistake(value.span(), Problem::WrongType { key: key.get_ref().to_string(), wanted, found });
    }

    fn mistake(&mut self, at: Range<usize>, problem: Problem) {
        if self.mistakes.len() == MISTAKES {
            return; // finding line numbers is the slowest part
        }
        let before = self.text.as_bytes().get(..at.start).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        self.mistakes.push(Mistake { line, problem });
    }
}

/// The entries of a table in the order of the file. The parser sorts them by name.
fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<(&'t Key<'i>, &'t Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

fn unsigned(integer: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Each mistake as `FILE:LINE: what`, which editors understand.
fn located(path: &Path, mistakes: &[Mistake]) -> Vec<String> {
    mistakes.iter().map(|mistake| format!("{}:{mistake}", path.display())).collect()
}

fn read_trusted(path: &Path) -> Result<String, FileError> {
    let unreadable = |source| FileError::Unreadable { path: path.to_owned(), source };
    // Opening a FIFO or a device must not block a reload. With one descriptor, the file that is checked is the file that is read.
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).map_err(unreadable)?;
    check(path, &file.metadata().map_err(unreadable)?)?;
    let mut text = String::new();
    let len = file.take(FILE_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if len as u64 > FILE_BYTES {
        return Err(FileError::TooLarge { path: path.to_owned(), most: FILE_BYTES });
    }
    Ok(text)
}

/// Any user who can write to the file configures the broker, at the latest on HUP. The broker's own group may write, because editors
/// make files group-writable where each user has a private group.
fn check(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    let path = || path.to_owned();
    if !metadata.is_file() {
        return Err(FileError::NotAFile { path: path() });
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() && metadata.uid() != 0 {
        return Err(FileError::ForeignFile { path: path(), owner: metadata.uid() });
    }
    let is_own_group = metadata.gid() == rustix::process::getegid().as_raw();
    let writable = if is_own_group { 0o002 } else { 0o022 };
    if metadata.mode() & writable != 0 {
        return Err(FileError::WritableFile { path: path(), mode: metadata.mode() & 0o7777 });
    }
    Ok(())
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.problem)
    }
}

/// The largest file. One with every limit has about 1 KiB. Parsing 1 MiB takes some milliseconds, during which nothing is routed.
const FILE_BYTES: u64 = 1 << 20;
/// The number of mistakes that are reported.
const MISTAKES: usize = 20;
/// The longest value that is quoted.
const SHOWN: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        ConfigFile::parse(text).unwrap_err().iter().map(Mistake::to_string).collect()
    }

    #[test]
    fn an_empty_file_is_the_default() {
        let file = ConfigFile::parse("").unwrap();
        assert_eq!((file.socket, file.datagram, file.limits), (None, None, Limits::default()));
    }

    #[test]
    fn a_file_changes_what_it_names_and_nothing_else() {
        let file =
            ConfigFile::parse("socket = '/run/x'\ndatagram = false\n[limits]\ncalls_per_caller = 0x1_0\n").unwrap();
        assert_eq!((file.socket, file.datagram), (Some(Address::Path("/run/x".into())), Some(false)));
        assert_eq!(file.limits, Limits { calls_per_caller: 16, ..Limits::default() });
    }

    #[test]
    fn all_mistakes_are_told_in_the_order_of_their_lines() {
        let text = "sokcet = '/x'\ndatagram = 1\n\n[limits]\nhello_ms = \"5s\" # ü\nnonsense = 1\nframe_ms = 0\n";
        assert_eq!(
            mistakes(text),
            [
                "1: 'sokcet' isn't a setting; there are 'socket', 'datagram' and the section 'limits'",
                "2: 'datagram' must be true or false, not 1",
                "5: 'hello_ms' must be a whole number that isn't negative, not \"5s\"",
                "6: 'nonsense' isn't a limit ('ipcctl limits' lists them)",
                "7: frame_ms = 0 is out of range: 1 to 3600000 ms",
            ]
        );
    }

    #[test]
    fn every_syntax_error_is_told() {
        let told = mistakes("socket = \n[limits]\nhello_ms = 1 2\nframe_ms 7\n");
        let lines: Vec<_> = told.iter().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(lines, ["1", "3", "4"], "{told:?}");
    }

    #[test]
    fn a_number_that_no_limit_can_hold_is_a_mistake() {
        assert!(mistakes("[limits]\nhello_ms = -1\n")[0].starts_with("2: 'hello_ms' must be a whole number"));
        assert!(mistakes("[limits]\nhello_ms = 99999999999999999999\n")[0].starts_with("2: 'hello_ms' must be"));
    }

    #[test]
    fn a_limit_that_is_left_out_and_wrong_for_the_others_is_told_at_its_section() {
        assert_eq!(
            mistakes("\n[limits]\nunread_soft_bytes = 4000000\n"),
            [
                "2: unread_hard_bytes = 4194304 must be at least 5052704: unread_soft_bytes = 4000000, and a frame with a \
              body of 1048576 bytes (body_bytes)"
            ]
        );
    }

    #[test]
    fn of_very_many_mistakes_the_first_are_reported() {
        assert_eq!(mistakes(&"x = \n".repeat(10_000)).len(), MISTAKES);
        let unknown: String = (0..1_000).rev().map(|number| format!("x{number} = 1\n")).collect();
        let reported = mistakes(&unknown);
        assert_eq!(reported.len(), MISTAKES);
        assert!(reported[0].starts_with("1: 'x999'") && reported[19].starts_with("20: 'x980'"), "{reported:?}");
    }
}
