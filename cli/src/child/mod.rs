//! Commands that answer calls: one process a call ([`job`]), or one process for many ([`worker`]).
//!
//! Each leads a process group of its own, is waited for as soon as it ends, and is gone with all of its group within a second of
//! the end of its call. A payload travels through pipes alone: never on a command line, never in the environment.

pub(crate) mod bell;
pub(crate) mod group;
pub(crate) mod job;
pub(crate) mod log;
pub(crate) mod recipe;
pub(crate) mod tail;
pub(crate) mod verdict;
pub(crate) mod worker;

use std::{
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// How long a process group that was asked to end may take before it is killed.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// What a descriptor is watched for.
#[derive(Clone, Copy)]
pub(crate) enum Interest {
    /// Something to read, or its end.
    Read,
    /// Room to write, or the reader's end.
    Write,
}

/// Waits until one of the descriptors is ready or the time has come, and tells which are. One that is `None` is never ready.
pub(crate) fn ready<const N: usize>(
    watched: [(Option<&dyn AsFd>, Interest); N],
    until: Option<Instant>,
) -> io::Result<[bool; N]> {
    let mut places = Vec::with_capacity(N);
    let mut descriptors = Vec::with_capacity(N);
    for (place, (descriptor, interest)) in watched.iter().enumerate() {
        let Some(descriptor) = descriptor else { continue };
        let flags = match interest {
            Interest::Read => PollFlags::IN,
            Interest::Write => PollFlags::OUT,
        };
        places.push(place);
        descriptors.push(PollFd::from_borrowed_fd(descriptor.as_fd(), flags));
    }
    poll_until(&mut descriptors, until)?;
    let mut ready = [false; N];
    for (place, descriptor) in places.into_iter().zip(&descriptors) {
        ready[place] = !descriptor.revents().is_empty();
    }
    Ok(ready)
}

fn poll_until(descriptors: &mut [PollFd<'_>], until: Option<Instant>) -> io::Result<()> {
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok()); // too long for the kernel: for ever
        match poll(descriptors, timeout.as_ref()) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
