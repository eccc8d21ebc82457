//! Stops a service from anywhere.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ipc_protocol::transport::Bell;

/// Stops the service it was given to with [`Service::stopped_by`](crate::Service::stopped_by): from any thread, or from a method of
/// the service itself. Cloning it shares it. Once a service was stopped, every service with the same stopper stops.
///
/// Its descriptor is readable once it was used.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    is_asked: AtomicBool,
    /// Wakes the thread that serves.
    bell: Bell,
}

impl Stopper {
    /// A stopper that was not used.
    ///
    /// # Errors
    /// What eventfd(2) says.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Shared { is_asked: AtomicBool::new(false), bell: Bell::new()? })))
    }

    /// Asks the service to stop, and does not wait: it gives its name back, so that calls go elsewhere, lets the calls that run end,
    /// for up to 5 s, and closes its connection. Calls that are not answered by then end with `service_gone`.
    pub fn stop(&self) {
        self.0.is_asked.store(true, Ordering::SeqCst);
        self.0.bell.ring();
    }

    /// Whether it was used.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.0.is_asked.load(Ordering::SeqCst)
    }

    pub(super) fn bell(&self) -> &Bell {
        &self.0.bell
    }
}

impl AsFd for Stopper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.bell.as_fd()
    }
}
