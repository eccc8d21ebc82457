//! Keeping descriptors out: what a sender may attach to its bytes (SCM_RIGHTS, unix(7)) is the receiver's to close.
//!
//! A receiver can't defend itself once it has one. Closing the last copy of a descriptor may take as long as the sender likes: a
//! socket with SO_LINGER and unsent data, a file whose FUSE server doesn't answer FLUSH. Even the kernel waits, when it discards what
//! was never received.

use std::{io, os::fd::AsFd};

use nix::{
    errno::Errno,
    getsockopt_impl, libc, setsockopt_impl, sockopt_impl,
    sys::socket::{GetSockOpt, SetSockOpt, getsockopt, setsockopt, sockopt::PassCred},
};

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

/// Whether it was descriptors that a read without room for control data cut short. A socket that was handed over may be set to bring
/// other things. It isn't from now on, so that the next read is cut short by descriptors alone.
#[cold]
pub(crate) fn have_come(socket: &impl AsFd) -> bool {
    let others = [silence(socket, PassCred), silence(socket, PassSecurity), silence(socket, PassPidfd)];
    !others.contains(&true)
}

/// Switches an option off. Whether it was on.
fn silence<O>(socket: &impl AsFd, option: O) -> bool
where
    O: GetSockOpt<Val = bool> + SetSockOpt<Val = bool> + Copy,
{
    getsockopt(socket, option) == Ok(true) && setsockopt(socket, option, &false).is_ok()
}

sockopt_impl!(
    /// Whether a socket brings the security label of its sender.
    PassSecurity,
    Both,
    libc::SOL_SOCKET,
    libc::SO_PASSSEC,
    bool
);

sockopt_impl!(
    /// Whether a socket brings a descriptor of its sender's process.
    PassPidfd,
    Both,
    libc::SOL_SOCKET,
    SO_PASSPIDFD,
    bool
);

sockopt_impl!(
    /// Whether a socket may receive descriptors. The crates for system calls don't know it yet.
    PassRights,
    SetOnly,
    libc::SOL_SOCKET,
    SO_PASSRIGHTS,
    bool
);

// From asm-generic/socket.h; the few architectures with numbers of their own aren't built for.
const SO_PASSPIDFD: libc::c_int = 76;
const SO_PASSRIGHTS: libc::c_int = 83;
