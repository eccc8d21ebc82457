//! The claim to a socket path: a lock file decides who owns it, and a stale socket is removed only under that lock.

use std::{
    fs::{self, File, Metadata, OpenOptions, TryLockError},
    io::{self, Write},
    os::fd::AsFd,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use ipc_protocol::transport::credentials;
use nix::{
    fcntl::{FcntlArg, fcntl},
    libc,
};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
};

use super::{
    directory::{self, DirectoryError},
    path_error::{Flaw, PathError, failed},
};

/// Why a path can't be claimed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Another broker serves the path.
    #[error(
        "{}: another broker ({}) serves this path; stop it first, or choose another path with --socket",
        path.display(), named(*pid)
    )]
    Taken {
        /// The path.
        path: PathBuf,
        /// The process of that broker, if the kernel reports it.
        pid: Option<u32>,
    },
    /// Another program's socket. If it were deleted, that program would keep it open, but no client could reach it.
    #[error(
        "{}: another program has this socket open; it is left alone, stop the program or choose another path with --socket",
        path.display()
    )]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The path is not a socket, and so isn't ours to delete.
    #[error("{}: this is not a socket; it is left alone, remove it or choose another path with --socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The path's directory can't be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The lock file could be another user's.
    #[error("{}: {flaw}; this lock file is not to be trusted, remove it or choose another path with --socket", path.display())]
    UnsafeLock {
        /// The lock file.
        path: PathBuf,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// A system call failed.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// A path that belongs to this broker as long as the claim lives. The lock file stays for the next broker.
#[derive(Debug)]
pub(crate) struct Claim {
    lock: File,
    lock_path: PathBuf,
}

impl Claim {
    /// Claims a path: creates and checks its directory, and takes the lock.
    pub(crate) fn take(path: &Path) -> Result<Self, ClaimError> {
        directory::prepare(path)?;
        lock(path)
    }

    /// Whether the lock file is still at its path, where others look for it.
    pub(crate) fn is_there(&self) -> bool {
        let inode = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let held = self.lock.metadata().map(inode);
        fs::symlink_metadata(&self.lock_path).is_ok_and(|found| held.is_ok_and(|held| held == inode(found)))
    }

    /// Removes a socket that no process has open. The lock keeps other brokers from binding it meanwhile. It can still be in use,
    /// because a live broker's lock file may have been deleted, and other programs take no lock.
    pub(crate) fn remove_stale(&self, path: &Path, kind: SocketType) -> Result<(), ClaimError> {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("look at", path)(error).into()),
        };
        if !metadata.file_type().is_socket() {
            return Err(ClaimError::NotASocket { path: path.to_owned() });
        }
        expect_stale(path, kind)?;
        fs::remove_file(path).map_err(failed("remove the stale socket", path))?;
        Ok(())
    }
}

/// Takes the lock: a flock(2), which also excludes other threads of this process. A record lock (fcntl(2)) on the same file lets
/// the loser ask the kernel for the winner's pid. A pid in the file could be out of date.
fn lock(path: &Path) -> Result<Claim, ClaimError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(&lock_path).map_err(failed("open the lock file", &lock_path))?;
    check_lock(&lock_path, &file)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(ClaimError::Taken { path: path.to_owned(), pid: holder(&file) });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock", &lock_path)(error).into()),
    }
    fcntl(&file, FcntlArg::F_SETLK(&whole_file())).map_err(|error| failed("lock", &lock_path)(error.into()))?;
    // For people who read the file. Only the lock counts.
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(failed("write the pid to", &lock_path))?;
    Ok(Claim { lock: file, lock_path })
}

/// In a directory like /tmp any user can create a file in place of the lock file, to hold the lock for ever or as a hard link to a
/// file that the broker would overwrite.
fn check_lock(path: &Path, file: &File) -> Result<(), ClaimError> {
    let metadata = file.metadata().map_err(failed("look at the lock file", path))?;
    let refuse = |flaw| Err(ClaimError::UnsafeLock { path: path.to_owned(), flaw });
    if metadata.uid() != rustix::process::geteuid().as_raw() && metadata.uid() != 0 {
        return refuse(Flaw::Owner(metadata.uid()));
    }
    if !metadata.is_file() {
        return refuse(Flaw::Kind);
    }
    if metadata.nlink() > 1 {
        return refuse(Flaw::Names(metadata.nlink()));
    }
    Ok(())
}

/// The process that holds the lock, `None` if its pid namespace is not visible from this one. It takes the record lock right after
/// the flock, so a short wait is enough.
fn holder(file: &File) -> Option<u32> {
    for _ in 0..200 {
        let mut probe = whole_file();
        let asked = fcntl(file, FcntlArg::F_GETLK(&mut probe));
        #[expect(clippy::cast_possible_truncation, reason = "F_UNLCK is 2")]
        let is_free = probe.l_type == libc::F_UNLCK as libc::c_short;
        if asked.is_ok() && !is_free {
            return u32::try_from(probe.l_pid).ok().filter(|pid| *pid > 0);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Some(std::process::id()) // a process doesn't conflict with its own record locks
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

/// Only ECONNREFUSED means that no process has the socket open (unix(7)). A socket with a full backlog, of another type or connected
/// to another peer is in use.
fn expect_stale(path: &Path, kind: SocketType) -> Result<(), ClaimError> {
    let try_socket = failed("find out whether a program uses", path);
    let address = SocketAddrUnix::new(path).map_err(|error| try_socket(error.into()))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = socket_with(AddressFamily::UNIX, kind, flags, None).map_err(|error| try_socket(error.into()))?;
    match connect(&probe, &address) {
        Err(Errno::CONNREFUSED) => Ok(()),
        Ok(()) if kind == SocketType::STREAM => {
            let pid = credentials::of_peer(probe.as_fd()).ok().and_then(|identity| identity.pid);
            Err(ClaimError::Taken { path: path.to_owned(), pid })
        }
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE | Errno::PERM) => Err(ClaimError::InUse { path: path.to_owned() }),
        Err(error) => Err(try_socket(error.into()).into()),
    }
}

fn named(pid: Option<u32>) -> String {
    pid.map_or_else(|| "pid unknown".to_owned(), |pid| format!("pid {pid}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    /// Claims a path and removes a stale stream socket there.
    fn take(path: &Path) -> Result<Claim, ClaimError> {
        let claim = Claim::take(path)?;
        claim.remove_stale(path, SocketType::STREAM)?;
        Ok(claim)
    }

    #[test]
    fn a_second_claim_is_refused_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipcd.sock");
        let first = take(&path).unwrap();
        assert!(matches!(take(&path), Err(ClaimError::Taken { .. })));
        drop(first);
        take(&path).unwrap();
    }

    #[test]
    fn a_stale_socket_is_removed_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipcd.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let own = Some(std::process::id());
        assert!(matches!(take(&path), Err(ClaimError::Taken { pid, .. }) if pid == own));
        drop(listener);
        take(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipcd.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(take(&path), Err(ClaimError::NotASocket { .. })));
        std::os::unix::fs::symlink("nowhere", directory.path().join("link")).unwrap();
        assert!(matches!(take(&directory.path().join("link")), Err(ClaimError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_listener_with_a_full_backlog_is_not_stale() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let _waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert!(matches!(take(&path), Err(ClaimError::InUse { .. })));
        assert!(path.exists());
    }

    #[test]
    fn a_datagram_socket_that_is_open_is_not_stale() {
        let directory = tempfile::tempdir().unwrap();
        let (path, beside) = (directory.path().join("s"), directory.path().join("s.dgram"));
        let claim = take(&path).unwrap();
        let remove = || claim.remove_stale(&beside, SocketType::DGRAM);
        let open = UnixDatagram::bind(&beside).unwrap();
        assert!(matches!(remove(), Err(ClaimError::InUse { .. })));
        let elsewhere = UnixDatagram::bind(directory.path().join("elsewhere")).unwrap();
        open.connect_addr(&elsewhere.local_addr().unwrap()).unwrap();
        assert!(matches!(remove(), Err(ClaimError::InUse { .. })));
        drop(open);
        remove().unwrap();
        assert!(!beside.exists());
    }

    #[test]
    fn a_socket_of_another_kind_is_not_stale() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let _open = UnixDatagram::bind(&path).unwrap();
        assert!(matches!(take(&path), Err(ClaimError::InUse { .. })));
        assert!(path.exists());
    }

    #[test]
    fn a_lock_file_that_was_linked_from_elsewhere_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        fs::hard_link(&victim, directory.path().join("s.lock")).unwrap();
        let refused = take(&directory.path().join("s"));
        assert!(matches!(refused, Err(ClaimError::UnsafeLock { flaw: Flaw::Names(2), .. })));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }
}
