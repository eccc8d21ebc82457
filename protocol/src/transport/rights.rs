//! Keeping descriptors out: what a sender may attach to its bytes (SCM_RIGHTS, unix(7)) is the receiver's to close.
//!
//! A receiver can't defend itself once it has one. Closing the last copy of a descriptor may take as long as the sender likes: a
//! socket with SO_LINGER and unsent data, a file whose FUSE server doesn't answer FLUSH. Even the kernel waits, when it discards what
//! was never received. Before Linux 6.16, which can refuse them, all that is left is to look at what has come, and not to take it.

use std::{io, os::fd::AsFd};

use nix::{
    errno::Errno,
    getsockopt_impl, libc, setsockopt_impl, sockopt_impl,
    sys::socket::{GetSockOpt, SetSockOpt, getsockopt, setsockopt, sockopt::PassCred},
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// What becomes of the descriptors that a peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// The kernel refuses to send them.
    Refused,
    /// They come with the bytes: the kernel can't refuse them.
    Received,
}

impl Rights {
    /// What this kernel does about the descriptors that are sent to a broker's sockets.
    ///
    /// # Errors
    /// What socket(2) and setsockopt(2) say.
    pub fn of_kernel() -> io::Result<Self> {
        keep_out(&socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
    }
}

/// Makes the kernel refuse descriptors for a socket, and for those accepted from it: their sender gets `EPERM`. Before Linux 6.16
/// there is no such option, and nothing changes.
///
/// # Errors
/// What setsockopt(2) says, apart from `ENOPROTOOPT`.
pub(crate) fn keep_out(socket: &impl AsFd) -> io::Result<Rights> {
    match setsockopt(socket, PassRights, &false) {
        Ok(()) => Ok(Rights::Refused),
        Err(Errno::ENOPROTOOPT) => Ok(Rights::Received),
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
