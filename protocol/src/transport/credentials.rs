//! Identity of the other end of a socket, from the kernel alone: no NSS, no /proc, nothing that the peer says.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::sys::socket::{getsockopt, sockopt};

use crate::{
    transport::fd,
    wire::{identity::Identity, limits::MAX_GROUPS},
};

/// Who connected the socket, with the rights that the process had at connect, whatever it has become since (unix(7), SO_PEERCRED).
///
/// # Errors
/// What getsockopt(2) says about SO_PEERCRED. Groups and process stay unknown where the kernel doesn't tell.
pub fn of_peer(socket: BorrowedFd<'_>) -> io::Result<Identity> {
    let credentials = getsockopt(&socket, sockopt::PeerCredentials)?;
    let (groups, complete) = fd::peer_groups(socket, MAX_GROUPS).unwrap_or_default();
    let pid = u32::try_from(credentials.pid()).ok().filter(|pid| *pid != 0);
    Ok(Identity {
        uid: credentials.uid(),
        gid: credentials.gid(),
        pid,
        process: pid.and_then(|_| process_inode(socket)),
        groups,
        groups_incomplete: !complete,
    })
}

/// The user on the other end: the one who connected or, seen from there, the one who listens. One system call, where all of
/// [`of_peer`] costs several: it is enough to tell a broker from an impostor.
///
/// # Errors
/// What getsockopt(2) says about SO_PEERCRED.
pub fn uid_of_peer(socket: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(getsockopt(&socket, sockopt::PeerCredentials)?.uid())
}

/// Inode of the peer's pidfd: since Linux 6.9 pidfs gives each process one that is never reused, unlike its pid.
fn process_inode(socket: BorrowedFd<'_>) -> Option<u64> {
    const PID_FS_MAGIC: rustix::fs::FsWord = 0x5049_4446; // linux/magic.h; before 6.9 all pidfds share one anonymous inode
    let pidfd = getsockopt(&socket, sockopt::PeerPidfd).ok()?;
    let is_pidfs = rustix::fs::fstatfs(pidfd.as_fd()).ok().is_some_and(|fs| fs.f_type == PID_FS_MAGIC);
    if !is_pidfs {
        return None;
    }
    rustix::fs::fstat(pidfd.as_fd()).ok().map(|stat| stat.st_ino)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_socketpair_has_the_identity_of_its_maker() {
        let (a, _b) = UnixStream::pair().unwrap();
        let identity = of_peer(a.as_fd()).unwrap();
        assert_eq!(identity.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(identity.pid, Some(std::process::id()));
        assert_eq!(uid_of_peer(a.as_fd()).unwrap(), identity.uid);
    }
}
