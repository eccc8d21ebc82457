//! Waiting for descriptors: the one wrapper around poll(2), with a deadline, and never ended early by a signal.

use std::{io, os::fd::AsFd, time::Instant};

use rustix::{
    event::{Timespec, poll},
    io::Errno,
};

pub use rustix::event::{PollFd, PollFlags};

/// Waits until one of the descriptors is ready, and returns how many are: 0 once `until` has passed. What each is ready for stands
/// in its `revents`. Without a time, or with one that the kernel can't count to, the wait has no end of its own.
///
/// # Errors
/// What ppoll(2) says. A signal (`EINTR`) doesn't end the wait.
pub fn wait(fds: &mut [PollFd<'_>], until: Option<Instant>) -> io::Result<usize> {
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(fds, timeout.as_ref()) {
            Ok(ready) => return Ok(ready),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the descriptor is ready now, for one of `interest` or because its other end is gone or broken.
///
/// # Errors
/// What ppoll(2) says.
pub fn is_ready(fd: impl AsFd, interest: PollFlags) -> io::Result<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), interest)];
    loop {
        match poll(&mut fds, Some(&now)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, os::unix::net::UnixStream, thread, time::Duration};

    use super::*;
    use crate::transport::fd;

    #[test]
    fn what_is_ready_is_told_apart_from_what_is_not() {
        let ((silent, _other), (readable, mut writer)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        writer.write_all(b"x").unwrap();

        let mut fds = [PollFd::new(&silent, PollFlags::IN), PollFd::new(&readable, PollFlags::IN)];
        let ready = wait(&mut fds, None).unwrap();

        assert_eq!((ready, fds[0].revents(), fds[1].revents()), (1, PollFlags::empty(), PollFlags::IN));
    }

    #[test]
    fn a_time_that_has_passed_ends_the_wait_with_nothing() {
        let (silent, _other) = UnixStream::pair().unwrap();
        let ready = wait(&mut [PollFd::new(&silent, PollFlags::IN)], Some(Instant::now()));
        assert_eq!(ready.unwrap(), 0);
    }

    #[test]
    fn a_signal_does_not_end_the_wait() {
        let (waited_for, mut writer) = UnixStream::pair().unwrap();
        let (says_who, who) = std::sync::mpsc::channel();
        let waiting = thread::spawn(move || {
            says_who.send(nix::unistd::gettid().as_raw()).unwrap();
            wait(&mut [PollFd::new(&waited_for, PollFlags::IN)], None)
        });
        let waiter = who.recv().unwrap();
        for _ in 0..3 {
            until(|| is_in_poll(waiter));
            let before = fd::interrupt(waiter);
            until(|| fd::interruptions() > before);
        }
        until(|| is_in_poll(waiter));
        writer.write_all(b"x").unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), 1);
    }

    /// Whether a thread of this process sleeps in ppoll(2).
    fn is_in_poll(thread: i32) -> bool {
        let call = fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).unwrap_or_default();
        call.starts_with(&format!("{} ", nix::libc::SYS_ppoll))
    }

    fn until(condition: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < end, "it takes too long");
            thread::yield_now();
        }
    }

    #[test]
    fn an_end_is_ready_whatever_was_asked_for() {
        let (left, right) = UnixStream::pair().unwrap();
        assert!(!is_ready(&left, PollFlags::IN).unwrap());
        assert!(is_ready(&left, PollFlags::OUT).unwrap());
        drop(right);
        assert!(is_ready(&left, PollFlags::IN).unwrap());
    }
}
