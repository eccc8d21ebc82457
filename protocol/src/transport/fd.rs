//! The only file with `unsafe` code and raw descriptor numbers: what the crates for system calls don't offer safely.

#![expect(unsafe_code, reason = "these calls have no safe wrapper; the rest of the crate is denied them")]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::{
    libc,
    sys::socket::{ControlMessageOwned, MsgFlags, SockaddrLike, UnixAddr, recvmsg},
};
use uds::UnixSocketAddr;

/// A copy of whatever descriptor has a number in this process, close-on-exec. The original stays with its owner.
///
/// # Errors
/// What fcntl(2) says: `EBADF` if no descriptor has the number.
pub(crate) fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes an int, as it is given. It touches no memory and closes nothing, whatever the number is. As
    // pidfd_getfd(2) does, it makes another descriptor for the same open file.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, libc::STDERR_FILENO + 1) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor and told its number here alone, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Marks the descriptor that has a number close-on-exec, so that no child of this process gets it.
///
/// # Errors
/// What fcntl(2) says: `EBADF` if no descriptor has the number.
pub(crate) fn close_on_exec(number: RawFd) -> io::Result<()> {
    // SAFETY: F_SETFD takes an int, as it is given. It touches no memory, closes nothing in this process, and changes no file;
    // FD_CLOEXEC is its only flag.
    match unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Memory of the kernel, in bytes, for what was written to a stream socket and not read at its other end (SIOCOUTQ). It is more than what
/// was written: each write has a buffer of its own, with its administration.
///
/// # Errors
/// What ioctl(2) says.
pub fn unread_by_peer(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ, which SIOCOUTQ is another name of, stores one int at the address, which is that of a live one.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) } {
        0 => Ok(usize::try_from(bytes).unwrap_or(0)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Supplementary groups of the process that connected the socket (SO_PEERGROUPS, since Linux 4.13), at most `limit` of them, and
/// whether that is all of them. Of a process with more than 1,024 groups, none.
///
/// # Errors
/// What getsockopt(2) says.
pub fn peer_groups(socket: BorrowedFd<'_>, limit: usize) -> io::Result<(Vec<u32>, bool)> {
    // The kernel wants room for all groups or says how much it needs: a process may have 65,536 (NGROUPS_MAX), four bytes each,
    // and copying them takes as long as a call. The peer would decide how long a connection takes.
    const MOST: usize = 1_024;
    let mut room = limit.max(64);
    loop {
        let mut groups: Vec<libc::gid_t> = vec![0; room];
        let mut bytes = libc::socklen_t::try_from(room * size_of::<libc::gid_t>())
            .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        // SAFETY: `groups` is `bytes` bytes of initialised memory that lives through the call; the kernel writes at most `bytes` of
        // it and stores in `bytes` how much it wrote, or on ERANGE how much it wants.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = bytes as usize / size_of::<libc::gid_t>();
        if result == 0 {
            groups.truncate(count.min(limit));
            groups.shrink_to_fit();
            return Ok((groups, count <= limit));
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || count <= room {
            return Err(error);
        }
        if count > MOST {
            return Ok((Vec::new(), false));
        }
        room = count;
    }
}

/// Returns memory that the allocator keeps to the system. glibc does that by itself only for what lies behind everything in use; other
/// allocators need no request. It isn't about descriptors, but this is the file for what has no safe interface.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes no pointer, may be called by any thread at any time, and frees nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A datagram with what the kernel says about its sender.
#[derive(Debug)]
pub struct Datagram {
    /// Bytes received into the buffer.
    pub len: usize,
    /// Whether the datagram didn't fit.
    pub truncated: bool,
    /// Whether descriptors came with it, which are never accepted.
    pub descriptors: bool,
    /// User, group and process of the sender, if the kernel tells.
    pub sender: Option<(u32, u32, Option<u32>)>,
    /// The abstract name that the sender's socket is bound to, if it is: the only kind of address that is ever answered.
    pub return_address: Option<UnixSocketAddr>,
}

/// Receives one datagram from a socket with SO_PASSCRED, or `None` if there is none now.
///
/// The control buffer has room for the credentials and nothing else, so the kernel never installs a descriptor, whatever is sent. It
/// closes them.
///
/// # Errors
/// What recvmsg(2) says.
pub fn receive_datagram(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<Datagram>> {
    datagram(socket, buffer, MsgFlags::empty())
}

/// Whether descriptors come with the next datagram, which stays where it is. `None` if there is none now.
///
/// # Errors
/// What recvmsg(2) says.
pub fn datagram_brings_descriptors(socket: BorrowedFd<'_>) -> io::Result<Option<bool>> {
    Ok(datagram(socket, &mut [], MsgFlags::MSG_PEEK)?.map(|datagram| datagram.descriptors))
}

fn datagram(socket: BorrowedFd<'_>, buffer: &mut [u8], how: MsgFlags) -> io::Result<Option<Datagram>> {
    let mut slices = [io::IoSliceMut::new(buffer)];
    let mut control = nix::cmsg_space!(nix::sys::socket::UnixCredentials);
    let flags = how | MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = loop {
        match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
            Ok(message) => break message,
            Err(nix::Error::EINTR) => {}
            Err(nix::Error::EAGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    };
    // The address of an unbound sender has no length at all: nix panics if it is asked for more than that.
    let address = message.address.as_ref().filter(|address| address.len() > 2);
    let credentials = message.cmsgs().ok().and_then(|mut all| {
        all.find_map(|one| match one {
            ControlMessageOwned::ScmCredentials(credentials) => Some(credentials),
            _ => None,
        })
    });
    Ok(Some(Datagram {
        len: message.bytes,
        truncated: message.flags.contains(MsgFlags::MSG_TRUNC),
        descriptors: message.flags.contains(MsgFlags::MSG_CTRUNC),
        sender: credentials.map(|of| (of.uid(), of.gid(), u32::try_from(of.pid()).ok().filter(|pid| *pid != 0))),
        return_address: address
            .and_then(UnixAddr::as_abstract)
            .and_then(|name| UnixSocketAddr::from_abstract(name).ok()),
    }))
}

/// Sends a thread of this process a signal that a handler takes, so that the system call it is in ends with `EINTR`. Returns how many
/// such signals were handled before.
#[cfg(test)]
pub(crate) fn interrupt(thread: libc::pid_t) -> usize {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    extern "C" fn count(_: libc::c_int) {
        INTERRUPTIONS.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
    let before = interruptions();
    let action = SigAction::new(SigHandler::Handler(count), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler adds to an atomic number, which is safe at any moment (signal-safety(7)).
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    // SAFETY: tgkill(2) takes three ints, as it is given, and touches no memory. The process is this one, and the signal has the handler
    // that was just set.
    assert_eq!(unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), thread, libc::SIGUSR1) }, 0);
    before
}

/// How many signals of [`interrupt`] were handled.
#[cfg(test)]
pub(crate) fn interruptions() -> usize {
    INTERRUPTIONS.load(std::sync::atomic::Ordering::SeqCst)
}

#[cfg(test)]
static INTERRUPTIONS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

#[cfg(test)]
mod tests {
    use std::os::{fd::AsFd, unix::net::UnixStream};

    use super::*;

    #[test]
    fn a_number_that_is_not_open_is_refused() {
        assert_eq!(duplicate(9_999).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(close_on_exec(-1).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn groups_of_a_peer_are_those_of_its_process() {
        let (a, _b) = UnixStream::pair().unwrap();
        let mut own: Vec<u32> = nix::unistd::getgroups().unwrap().iter().map(|g| g.as_raw()).collect();
        let (mut groups, complete) = peer_groups(a.as_fd(), 64).unwrap();
        own.sort_unstable();
        groups.sort_unstable();
        assert!(complete);
        assert_eq!(groups, own);
    }
}
