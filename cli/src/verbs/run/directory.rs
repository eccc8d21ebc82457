//! The directory of a private broker. Its owner holds a lock on it (flock(2)), which ends with the owner, however that dies: so the
//! next owner can tell what a killed one left from what is in use.

use std::{
    env,
    ffi::OsStr,
    fs::{File, Permissions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use ipc_client::limits::MAX_SOCKET_PATH;
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat},
    io::Errno,
};
use tempfile::TempDir;

use crate::problem::{Problem, Result};

/// A directory with mode 0700.
#[derive(Debug)]
pub(crate) struct Directory {
    directory: TempDir,
    _lock: File,
}

impl Directory {
    /// Makes one, below $TMPDIR, or below /tmp if the path of the socket would be too long there (unix(7)). Removes those of owners
    /// that were killed.
    pub(crate) fn make() -> Result<Self> {
        let long = env::temp_dir().join("ipcctl-XXXXXX").join(SOCKET);
        let place = if long.as_os_str().len() > MAX_SOCKET_PATH { "/tmp".into() } else { env::temp_dir() };
        sweep(&place);
        Self::make_in(&place).map_err(|error| {
            let operation = format!("cannot make a directory for the broker in {}", place.display());
            Problem::host("run", &operation, &error).hint("$TMPDIR says where, /tmp if it isn't set")
        })
    }

    /// Where the broker listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join(SOCKET)
    }

    /// Removes it with all that is in it. The command may have been faster.
    pub(crate) fn remove(self) -> io::Result<()> {
        match self.directory.close() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn make_in(place: &Path) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX).permissions(Permissions::from_mode(0o700));
        let directory = builder.tempdir_in(place)?;
        // A sweep may hold the lock for a moment, and leaves a directory without a socket alone.
        let lock = File::open(directory.path())?;
        lock.lock()?;
        Ok(Self { directory, _lock: lock })
    }
}

/// Removes what killed owners left. Errors don't matter: the next sweep tries again.
fn sweep(place: &Path) {
    for entry in place.read_dir().into_iter().flatten().flatten() {
        if is_name(&entry.file_name()) {
            let _ = remove_abandoned(&entry.path());
        }
    }
}

/// Removes the files of a broker, and only from a directory of this user, as [`Directory::make`] makes it, whose lock is free. Works
/// on the open directory, so that none can be put in its place meanwhile.
fn remove_abandoned(path: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = File::from(openat(CWD, path, flags, Mode::empty())?);
    let metadata = directory.metadata()?;
    if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o7777 != 0o700 {
        return Ok(());
    }
    match directory.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(()), // its owner lives
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut is_a_brokers = false;
    for name in FILES {
        match unlinkat(&directory, name, AtFlags::empty()) {
            Ok(()) => is_a_brokers = true,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if is_a_brokers {
        unlinkat(CWD, path, AtFlags::REMOVEDIR)?; // fails if there is anything else in it
    }
    Ok(())
}

fn is_name(name: &OsStr) -> bool {
    let random = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
    random.is_some_and(|random| random.len() == 6 && random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

const PREFIX: &str = "ipcctl-";
const SOCKET: &str = "ipcd.sock";
/// What a broker puts beside its socket.
const FILES: [&str; 3] = [SOCKET, "ipcd.sock.dgram", "ipcd.sock.lock"];

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Place(TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        /// A directory as a killed owner leaves it.
        fn abandoned(&self) -> PathBuf {
            let directory = Directory::make_in(self.0.path()).unwrap();
            FILES.iter().for_each(|file| fs::write(directory.directory.path().join(file), "").unwrap());
            directory.directory.keep()
        }

        fn sweep(&self) {
            sweep(self.0.path());
        }
    }

    #[test]
    fn the_directory_is_for_its_owner_alone() {
        let place = Place::new();
        let directory = Directory::make_in(place.0.path()).unwrap();
        assert_eq!(directory.directory.path().metadata().unwrap().mode() & 0o7777, 0o700);
    }

    #[test]
    fn one_without_an_owner_is_swept() {
        let place = Place::new();
        let path = place.abandoned();
        place.sweep();
        assert!(!path.exists());
    }

    #[test]
    fn one_with_an_owner_is_not() {
        let place = Place::new();
        let directory = Directory::make_in(place.0.path()).unwrap();
        fs::write(directory.socket(), "").unwrap();
        place.sweep();
        assert!(directory.socket().exists());
    }

    #[test]
    fn files_of_others_are_kept() {
        let place = Place::new();
        let path = place.abandoned();
        fs::write(path.join("precious"), "").unwrap();
        place.sweep();
        assert!(path.join("precious").exists());
    }

    #[test]
    fn a_link_is_not_followed() {
        let (place, elsewhere) = (Place::new(), Place::new());
        let path = elsewhere.abandoned();
        std::os::unix::fs::symlink(&path, place.0.path().join("ipcctl-abc123")).unwrap();
        place.sweep();
        assert!(path.join(SOCKET).exists());
    }

    #[test]
    fn one_that_others_may_enter_is_not_touched() {
        let place = Place::new();
        let path = place.abandoned();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        place.sweep();
        assert!(path.join(SOCKET).exists());
    }

    #[test]
    fn a_directory_that_the_command_removed_is_no_trouble() {
        let place = Place::new();
        let directory = Directory::make_in(place.0.path()).unwrap();
        fs::remove_dir_all(directory.directory.path()).unwrap();
        assert!(directory.remove().is_ok());
    }
}
