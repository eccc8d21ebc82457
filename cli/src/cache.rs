//! Descriptions of services, kept between runs: one file each, below `$XDG_CACHE_HOME/ipcctl`.
//!
//! What a service says is believed of that service alone: a file holds the [`Subject`] that it tells of. Nothing depends on the cache: what
//! can't be read or written isn't there, and a directory or a file that another user could have put there isn't, either.

use std::{
    env,
    fs::{DirBuilder, File},
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
    process, str,
};

use ipc_client::{Description, Fingerprint, ServiceName};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use serde::{Deserialize, Serialize};

/// Whose description it is. A service chooses its fingerprint as it likes, so that it alone tells no two services apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subject {
    pub(crate) service: ServiceName,
    /// The user of its instances.
    pub(crate) uid: u32,
    pub(crate) fingerprint: Fingerprint,
}

/// What a file holds.
#[derive(Serialize, Deserialize)]
struct Entry<S, D> {
    subject: S,
    description: D,
}

/// The directory, which none but this user writes into.
struct Cache(OwnedFd);

/// What is known of a service.
pub(crate) fn read(subject: &Subject) -> Option<Description> {
    Cache::open(&directory()?)?.read(subject)
}

/// Whether anything is known at all.
pub(crate) fn is_empty() -> bool {
    let cache = directory().and_then(|directory| Cache::open(&directory));
    cache.is_none_or(|cache| cache.files().is_none_or(|files| files.is_empty()))
}

/// Keeps a description.
pub(crate) fn keep(subject: &Subject, description: &Description) {
    if let Some(cache) = directory().and_then(|directory| Cache::make(&directory)) {
        drop(cache.store(subject, description));
    }
}

impl Cache {
    /// None if others could have put something there.
    fn open(path: &Path) -> Option<Self> {
        let directory = rustix::fs::open(path, OFlags::DIRECTORY | PLAINLY, Mode::empty()).ok()?;
        let is_own = is_own(&rustix::fs::fstat(&directory).ok()?);
        is_own.then_some(Self(directory))
    }

    fn make(path: &Path) -> Option<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).ok()?;
        Self::open(path)
    }

    fn read(&self, subject: &Subject) -> Option<Description> {
        let file = rustix::fs::openat(&self.0, file_name(subject), OFlags::NONBLOCK | PLAINLY, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(&file).ok()?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() || !is_own(&stat) {
            return None;
        }
        let mut text = Vec::new();
        File::from(file).take(MOST_BYTES).read_to_end(&mut text).ok()?;
        let entry: Entry<Subject, Description> = serde_json::from_slice(&text).ok()?;
        // The name of a file is a hash, which others can meet.
        (entry.subject == *subject).then_some(entry.description)
    }

    fn store(&self, subject: &Subject, description: &Description) -> io::Result<()> {
        let text = serde_json::to_vec(&Entry { subject, description })?;
        self.make_room();
        let name = file_name(subject);
        let unfinished = format!("{}{}{UNFINISHED}", name.trim_end_matches(FINISHED), process::id());
        // Of a process that had the same number, and was killed.
        let _ = rustix::fs::unlinkat(&self.0, &unfinished, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | PLAINLY;
        let mut file = File::from(rustix::fs::openat(&self.0, &unfinished, flags, Mode::RUSR | Mode::WUSR)?);
        let stored =
            file.write_all(&text).and_then(|()| Ok(rustix::fs::renameat(&self.0, &unfinished, &self.0, name)?));
        if stored.is_err() {
            let _ = rustix::fs::unlinkat(&self.0, &unfinished, AtFlags::empty());
        }
        stored
    }

    /// Removes the oldest if there are too many.
    fn make_room(&self) {
        let aged = |name: String| {
            let stat = rustix::fs::statat(&self.0, &name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some((stat.st_mtime, stat.st_mtime_nsec, name))
        };
        let mut files: Vec<_> = self.files().into_iter().flatten().filter_map(aged).collect();
        files.sort();
        let surplus = files.len().saturating_sub(MOST_FILES - 1);
        for (_, _, name) in files.iter().take(surplus) {
            let _ = rustix::fs::unlinkat(&self.0, name, AtFlags::empty());
        }
    }

    /// Those that this file has named; whatever else is there is left alone.
    fn files(&self) -> Option<Vec<String>> {
        let entries = Dir::read_from(&self.0).ok()?.flatten();
        let name = |entry: rustix::fs::DirEntry| entry.file_name().to_str().ok().map(str::to_owned);
        Some(entries.filter_map(name).filter(|name| is_of_cache(name)).collect())
    }
}

/// Whether it belongs to this user, and no other may write to it.
fn is_own(stat: &Stat) -> bool {
    let written_by_others = Mode::WGRP | Mode::WOTH;
    stat.st_uid == rustix::process::geteuid().as_raw()
        && !Mode::from_raw_mode(stat.st_mode).intersects(written_by_others)
}

fn file_name(subject: &Subject) -> String {
    let Subject { service, uid, fingerprint } = subject;
    format!("{}{FINISHED}", Fingerprint::of(format!("{service} {uid} {fingerprint}").as_bytes()))
}

/// Whether a file has a name as [`file_name`] and [`Cache::store`] make them.
fn is_of_cache(name: &str) -> bool {
    let Some((hash, rest)) = name.split_at_checked(HASH_LEN) else { return false };
    let number = rest.strip_suffix(UNFINISHED);
    hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && (rest == FINISHED || number.is_some_and(|number| number.parse::<u32>().is_ok()))
}

/// As the XDG Base Directory specification has it: a path that isn't absolute doesn't count.
fn directory() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("ipcctl"))
}

/// No link is followed, and no program that is started gets the descriptor.
const PLAINLY: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);
/// What the name of a file ends in.
const FINISHED: &str = ".json";
/// What it ends in while it is written, behind the number of the process.
const UNFINISHED: &str = ".new";
/// Digits of the hash that a name begins with.
const HASH_LEN: usize = 16;
/// No more is read back.
const MOST_BYTES: u64 = 4 << 20;
/// Descriptions that are kept.
const MOST_FILES: usize = 256;

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt, symlink},
        time::SystemTime,
    };

    use tempfile::TempDir;

    use super::*;

    fn subject(number: u64) -> Subject {
        Subject { service: ServiceName::parse("calc").unwrap(), uid: 7, fingerprint: Fingerprint(number) }
    }

    fn said(about: &str) -> Description {
        serde_json::from_value(serde_json::json!({ "about": about })).unwrap()
    }

    /// A cache in a directory of its own.
    fn cache() -> (TempDir, Cache) {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::make(&directory.path().join("ipcctl")).unwrap();
        (directory, cache)
    }

    fn path(directory: &TempDir, subject: &Subject) -> PathBuf {
        directory.path().join("ipcctl").join(file_name(subject))
    }

    #[test]
    fn the_oldest_make_room_and_other_files_stay() {
        let (directory, cache) = cache();
        let [other, killed] =
            ["notes.json", "00000000000000ff77.new"].map(|name| directory.path().join("ipcctl").join(name));
        fs::write(&other, "mine").unwrap();
        fs::write(&killed, "of a process that was killed").unwrap();
        cache.store(&subject(0), &Description::default()).unwrap();
        for old in [&other, &killed, &path(&directory, &subject(0))] {
            File::options().write(true).open(old).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        for number in 1..MOST_FILES as u64 + 1 {
            cache.store(&subject(number), &Description::default()).unwrap();
        }
        assert_eq!(cache.files().unwrap().len(), MOST_FILES);
        assert_eq!(cache.read(&subject(0)), None);
        assert_eq!([killed.exists(), other.exists()], [false, true]);
    }

    #[test]
    fn what_a_service_says_is_believed_of_it_alone() {
        let (directory, cache) = cache();
        cache.store(&subject(1), &said("a")).unwrap();
        assert_eq!(cache.read(&subject(1)), Some(said("a")));
        let others =
            [Subject { service: ServiceName::parse("other").unwrap(), ..subject(1) }, Subject { uid: 8, ..subject(1) }];
        for other in others {
            assert_eq!(cache.read(&other), None);
            fs::copy(path(&directory, &subject(1)), path(&directory, &other)).unwrap();
            assert_eq!(cache.read(&other), None, "the hashes are the same");
        }
    }

    #[test]
    fn a_directory_behind_a_link_or_open_to_others_is_no_cache() {
        let (directory, _cache) = cache();
        let path = directory.path().join("ipcctl");
        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(Cache::make(&link).is_none());
        for mode in [0o770, 0o707] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(Cache::make(&path).is_none(), "{mode:o}");
        }
    }

    #[test]
    fn what_is_no_file_of_the_user_is_not_read() {
        let (directory, cache) = cache();
        let path = path(&directory, &subject(1));
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(cache.read(&subject(1)), None);
        fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        assert_eq!(cache.read(&subject(1)), None);

        cache.store(&subject(2), &said("a")).unwrap();
        fs::remove_file(&path).unwrap();
        cache.store(&subject(1), &said("a")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        assert_eq!(cache.read(&subject(1)), None);
        assert!(cache.read(&subject(2)).is_some());
    }
}
