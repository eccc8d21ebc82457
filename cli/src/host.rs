//! The process that runs our private broker (`ipcctl run`): without it a service or a subscriber has no purpose.

use std::{env, os::fd::OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::{globals::Globals, link::PRIVATE};

/// Becomes readable when the process that runs our broker has ended, even by SIGKILL. `None` if the broker isn't private: a service or a subscriber
/// outlives other brokers, and goes on with the next.
pub(crate) fn watch(globals: &Globals) -> Option<OwnedFd> {
    let chosen = globals.socket.clone();
    if chosen.is_some_and(|socket| env::var_os("IPCD_SOCKET").is_none_or(|own| own != socket)) {
        return None; // not the broker that the variable is about
    }
    let pid = env::var(PRIVATE).ok()?.parse().ok().and_then(Pid::from_raw)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}
