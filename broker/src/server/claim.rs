//! The claim to a socket path: a lock file decides who owns it, and a stale socket is removed only under that lock.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io::{self, Write},
    os::fd::AsFd,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use ipc_protocol::transport::{Address, credentials, socket};
use nix::{
    fcntl::{FcntlArg, fcntl},
    libc,
};
use rustix::fs::{FlockOperation, flock};

/// Why a path cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Another broker serves it.
    #[error("{}: another broker ({holder}) serves this path; stop it first, or choose another path with --socket", path.display())]
    Taken {
        /// The path.
        path: PathBuf,
        /// `pid N`, as far as the kernel tells.
        holder: String,
    },
    /// Something is there that is no socket: it is not ours to delete.
    #[error("{}: this is not a socket; it is left alone, remove it or choose another path with --socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Somebody else could replace what is in the directory.
    #[error("{}: {reason}; the socket would not be safe there", path.display())]
    UnsafeDirectory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system says no.
    #[error("{}: cannot {operation}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A path that is this broker's as long as the claim lives. The lock file stays behind, for the next one to lock.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Held for its lock.
    _lock: File,
}

impl Claim {
    /// Takes the path: makes and checks its directory, takes the lock, removes a stale socket.
    pub(crate) fn take(path: &Path) -> Result<Self, ClaimError> {
        prepare_directory(path)?;
        let lock = lock(path)?;
        remove_stale(path)?;
        if let Some(datagram) = Address::Path(path.to_owned()).datagram() {
            remove_stale(&path_of(&datagram))?;
        }
        Ok(Self { _lock: lock })
    }
}

/// A socket file that goes away with its owner, unless something else has taken its place meanwhile.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    /// The file that was just bound at `path`.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), inode: (metadata.dev(), metadata.ino()) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.inode);
        if is_ours {
            // Nothing can be done if it fails: the next broker finds a stale socket and removes it under the lock.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn prepare_directory(path: &Path) -> Result<(), ClaimError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mode = if rustix::process::geteuid().is_root() { 0o755 } else { 0o700 };
    if let Err(error) = DirBuilder::new().recursive(true).mode(mode).create(directory) {
        return Err(failed("create the directory", directory)(error));
    }
    // Who owns a link can point it elsewhere, who may write to the directory behind it can replace what is there.
    let look = failed("look at the directory", directory);
    check_directory(directory, &fs::symlink_metadata(directory).map_err(&look)?)?;
    check_directory(directory, &fs::metadata(directory).map_err(&look)?)
}

fn check_directory(directory: &Path, metadata: &Metadata) -> Result<(), ClaimError> {
    let refuse = |reason: String| Err(ClaimError::UnsafeDirectory { path: directory.to_owned(), reason });
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != own && metadata.uid() != 0 {
        return refuse(format!("it belongs to user {}", metadata.uid()));
    }
    const STICKY: u32 = 0o1000; // only owners remove what is in such a directory (/tmp)
    if !metadata.is_symlink() && metadata.mode() & 0o022 != 0 && metadata.mode() & STICKY == 0 {
        return refuse(format!("others may write to it (mode {:o})", metadata.mode() & 0o7777));
    }
    Ok(())
}

/// Takes the lock. flock(2) excludes other brokers, threads of this process included; a record lock (fcntl(2)) on the same file lets
/// the loser ask the kernel for the winner's pid, where a pid written to the file could be an old one.
fn lock(path: &Path) -> Result<File, ClaimError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(&lock_path).map_err(failed("open the lock file", &lock_path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::AGAIN) => {
            return Err(ClaimError::Taken { path: path.to_owned(), holder: holder(&file) });
        }
        Err(error) => return Err(failed("lock", &lock_path)(error.into())),
    }
    fcntl(&file, FcntlArg::F_SETLK(&whole_file())).map_err(|error| failed("lock", &lock_path)(error.into()))?;
    // For people who look: the lock itself is what counts.
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(failed("write the pid to", &lock_path))?;
    Ok(file)
}

/// Whose lock it is. The winner takes its record lock right after the flock, so a short wait finds it.
fn holder(file: &File) -> String {
    for _ in 0..200 {
        let mut probe = whole_file();
        let asked = fcntl(file, FcntlArg::F_GETLK(&mut probe));
        #[expect(clippy::cast_possible_truncation, reason = "F_UNLCK is 2")]
        let is_free = probe.l_type == libc::F_UNLCK as libc::c_short;
        if asked.is_ok() && !is_free {
            return format!("pid {}", probe.l_pid);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // A process does not conflict with its own record locks.
    format!("pid {}, this process", std::process::id())
}

fn whole_file() -> libc::flock {
    #[expect(clippy::cast_possible_truncation, reason = "F_WRLCK is 1, SEEK_SET is 0")]
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Removes a socket that nobody listens on. The lock is held, so no broker can be about to.
fn remove_stale(path: &Path) -> Result<(), ClaimError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", path)(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(ClaimError::NotASocket { path: path.to_owned() });
    }
    // Something that answers is alive, lock or no lock: perhaps its lock file was deleted.
    if let Ok(stream) = socket::connect_stream(&Address::Path(path.to_owned()), Duration::from_millis(200)) {
        let pid = credentials::of_peer(stream.as_fd()).ok().and_then(|identity| identity.pid);
        let holder = pid.map_or_else(|| "pid unknown".to_owned(), |pid| format!("pid {pid}"));
        return Err(ClaimError::Taken { path: path.to_owned(), holder });
    }
    fs::remove_file(path).map_err(failed("remove the stale socket", path))
}

fn path_of(address: &Address) -> PathBuf {
    match address {
        Address::Path(path) => path.clone(),
        other => PathBuf::from(other.to_string()),
    }
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> ClaimError {
    let path = path.to_owned();
    move |source| ClaimError::Io { operation, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::PermissionsExt, net::UnixListener};

    use super::*;

    #[test]
    fn a_second_claim_is_refused_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipcd.sock");
        let first = Claim::take(&path).unwrap();
        assert!(matches!(Claim::take(&path), Err(ClaimError::Taken { .. })));
        drop(first);
        Claim::take(&path).unwrap();
    }

    #[test]
    fn a_stale_socket_is_removed_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipcd.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let own = format!("pid {}", std::process::id());
        assert!(matches!(Claim::take(&path), Err(ClaimError::Taken { holder, .. }) if holder == own));
        drop(listener);
        Claim::take(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipcd.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Claim::take(&path), Err(ClaimError::NotASocket { .. })));
        std::os::unix::fs::symlink("nowhere", directory.path().join("link")).unwrap();
        assert!(matches!(Claim::take(&directory.path().join("link")), Err(ClaimError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_directory_that_others_write_to_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Claim::take(&directory.path().join("s")), Err(ClaimError::UnsafeDirectory { .. })));
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        Claim::take(&directory.path().join("s")).unwrap();
    }

    #[test]
    fn a_link_to_a_directory_that_others_write_to_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (open, link) = (directory.path().join("open"), directory.path().join("link"));
        fs::create_dir(&open).unwrap();
        std::os::unix::fs::symlink(&open, &link).unwrap();
        Claim::take(&link.join("s")).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Claim::take(&link.join("s")), Err(ClaimError::UnsafeDirectory { .. })));
    }

    #[test]
    fn a_socket_file_of_somebody_else_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let _first = UnixListener::bind(&path).unwrap();
        let file = SocketFile::of(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _second = UnixListener::bind(&path).unwrap();
        drop(file);
        assert!(path.exists());
    }
}
