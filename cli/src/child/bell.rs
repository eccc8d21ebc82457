//! A descriptor that becomes readable when somebody rings: how a cancel reaches a thread that waits in poll.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use rustix::event::{EventfdFlags, eventfd};

/// A bell. Once rung it stays readable; clones ring the same one.
#[derive(Clone, Debug)]
pub(crate) struct Bell(Arc<OwnedFd>);

impl Bell {
    /// A bell that has not rung.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Rings. Never blocks.
    pub(crate) fn ring(&self) {
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes()); // fails only when rung 2^64 times: it is readable then
    }

    /// A descriptor of the same bell, for who wants to own one.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// Makes it a bell that has not rung again.
    pub(crate) fn silence(&self) {
        let _ = rustix::io::read(&*self.0, &mut [0; 8]); // EAGAIN: it had not rung
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
