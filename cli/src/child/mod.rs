//! Commands that answer calls: one process a call ([`job`]), or one process for many ([`worker`]).
//!
//! Each leads a process group of its own, is reaped as soon as it ends, and is gone with its whole group within a second after its
//! call ends, or this process does ([`guard`]). Payloads travel through pipes alone, never on a command line or in the environment.

pub(crate) mod group;
pub(crate) mod guard;
pub(crate) mod job;
pub(crate) mod keeper;
pub(crate) mod log;
pub(crate) mod recipe;
pub(crate) mod restarts;
pub(crate) mod sentry;
pub(crate) mod tail;
pub(crate) mod verdict;
pub(crate) mod worker;

use std::{
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use ipc_client::poll::{self, PollFd, PollFlags};

/// The time between TERM and KILL.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// What to wait for on a descriptor.
#[derive(Clone, Copy)]
pub(crate) enum Interest {
    /// Data, or its end.
    Read,
    /// Room, or no reader.
    Write,
}

/// Waits until a descriptor is ready or the time has come, and returns which ones are. `None` is never ready.
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
    poll::wait(&mut descriptors, until)?;
    let mut ready = [false; N];
    for (place, descriptor) in places.into_iter().zip(&descriptors) {
        ready[place] = !descriptor.revents().is_empty();
    }
    Ok(ready)
}
