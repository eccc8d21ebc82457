//! Waking a thread that waits in poll(2): an eventfd under a name.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use rustix::event::{EventfdFlags, eventfd};

/// A bell. Once rung it is readable until it is silenced, so a ring that comes before the wait isn't lost. Clones are the same bell,
/// and any thread may ring.
#[derive(Clone, Debug)]
pub struct Bell(Arc<OwnedFd>);

impl Bell {
    /// A bell that hasn't rung.
    ///
    /// # Errors
    /// What eventfd(2) says.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Rings. Never blocks.
    pub fn ring(&self) {
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes()); // fails only when rung 2^64 times: it is readable then
    }

    /// Takes back every ring so far.
    pub fn silence(&self) {
        let _ = rustix::io::read(&*self.0, &mut [0; 8]); // EAGAIN: it hadn't rung
    }

    /// A descriptor of the same bell, for an owner of descriptors. One read through it silences the bell.
    ///
    /// # Errors
    /// What dup(2) says.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::transport::poll::{self, PollFd, PollFlags};

    fn is_ringing(bell: &Bell) -> bool {
        poll::is_ready(bell, PollFlags::IN).unwrap()
    }

    #[test]
    fn a_ring_before_the_wait_is_not_lost_and_lasts_until_silenced() {
        let bell = Bell::new().unwrap();
        assert!(!is_ringing(&bell));
        bell.clone().ring();
        bell.ring();
        assert!(is_ringing(&bell) && is_ringing(&bell));
        bell.silence();
        assert!(!is_ringing(&bell));
        bell.silence();
        assert!(!is_ringing(&bell));
    }

    #[test]
    fn a_ring_wakes_another_thread() {
        let bell = Bell::new().unwrap();
        let sleeper = bell.clone();
        let waiting = thread::spawn(move || poll::wait(&mut [PollFd::new(&sleeper, PollFlags::IN)], None).unwrap());
        bell.ring();
        assert_eq!(waiting.join().unwrap(), 1);
    }

    #[test]
    fn a_copy_of_the_descriptor_is_the_same_bell() {
        let bell = Bell::new().unwrap();
        let copy = bell.descriptor().unwrap();
        bell.ring();
        assert!(poll::is_ready(&copy, PollFlags::IN).unwrap());
    }
}
