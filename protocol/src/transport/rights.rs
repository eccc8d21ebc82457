//! Keeping descriptors out: what a sender may attach to its bytes (SCM_RIGHTS, unix(7)) is the receiver's to close.
//!
//! A receiver can't defend itself once it has one. Closing the last copy of a descriptor may take as long as the sender likes: a
//! socket with SO_LINGER and unsent data, a file whose FUSE server doesn't answer FLUSH. Even the kernel waits, when it discards what
//! was never received.

use std::{io, os::fd::AsFd};

use nix::{errno::Errno, libc, setsockopt_impl, sockopt_impl, sys::socket::setsockopt};

/// Makes the kernel refuse descriptors for a socket, and for those accepted from it: their sender gets `EPERM`. Before Linux 6.16
/// there is no such option, and nothing changes.
///
/// # Errors
/// What setsockopt(2) says, apart from `ENOPROTOOPT`.
pub(crate) fn keep_out(socket: &impl AsFd) -> io::Result<()> {
    match setsockopt(socket, PassRights, &false) {
        Ok(()) | Err(Errno::ENOPROTOOPT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

sockopt_impl!(
    /// Whether a socket may receive descriptors. The crates for system calls don't know it yet.
    PassRights,
    SetOnly,
    libc::SOL_SOCKET,
    SO_PASSRIGHTS,
    bool
);

/// From asm-generic/socket.h; the few architectures with numbers of their own aren't built for.
const SO_PASSRIGHTS: libc::c_int = 83;
