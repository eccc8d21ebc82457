//! Fits the limit of connections to the descriptors that this process may open.

use std::fs;

use ipc_protocol::transport::Rights;
use nix::sys::resource::{Resource, getrlimit};

use crate::core::Limits;

/// The descriptors that the process needs for anything but connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptors {
    kept: u64,
    /// Of these, the ones for connections that wait to be closed.
    closing: u64,
}

impl Descriptors {
    /// Counts what is open before the broker opens anything: standard streams, inherited sockets, and the files of the program that
    /// contains the broker. They stay open.
    pub(crate) fn count(rights: Rights) -> Self {
        let open = fs::read_dir("/proc/self/fd").map_or(OPEN_UNSEEN, |entries| entries.count() as u64);
        let kept = open + OWN + PASSING;
        let closing = match rights {
            Rights::Refused => 0,
            Rights::Received => (most().unwrap_or(0).saturating_sub(kept) / 4).clamp(1, CLOSING),
        };
        Self { kept: kept + closing, closing }
    }

    /// How many connections may wait to be closed.
    pub(crate) fn for_closing(self) -> usize {
        usize::try_from(self.closing).unwrap_or(usize::MAX)
    }

    /// Lowers the limits to what the descriptors allow. Up to a quarter of the connections is then reserved.
    pub(crate) fn fit(self, mut limits: Limits) -> Limits {
        let Some(most) = most() else { return limits };
        let room = most.saturating_sub(self.kept).max(1);
        if room < limits.connections {
            limits.connections = room;
            limits.connections_reserved = limits.connections_reserved.min(room / 4);
        }
        limits
    }
}

/// The limit on open files, if there is one.
fn most() -> Option<u64> {
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(most, _)| most)
}

/// The log line of a broker that accepts fewer connections than configured; `None` if it accepts all.
#[must_use]
pub fn connections_lowered(configured: u64, fitted: u64) -> Option<String> {
    let reason = "this process may open too few files (RLIMIT_NOFILE)";
    (fitted < configured).then(|| format!("event=connections_lowered from={configured} to={fitted} reason={reason:?}"))
}

/// The assumption without /proc: standard streams, a signalfd and two inherited sockets.
const OPEN_UNSEEN: u64 = 6;
/// What the broker opens for itself: epoll, timer, stream and datagram socket, lock file, and one in reserve.
const OWN: u64 = 6;
/// Descriptors that are open briefly: a connection to be refused, the configuration file, and the descriptors of one frame (16)
/// until they are refused.
const PASSING: u64 = 18;
/// Connections with descriptors of strangers, each of which waits until the closing thread gets to it. They take about 8 KiB of the
/// kernel's memory each. A quarter of what there is for connections, if that is less.
const CLOSING: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn open_files() -> u64 {
        getrlimit(Resource::RLIMIT_NOFILE).unwrap().0
    }

    #[test]
    fn limits_for_which_there_are_descriptors_are_kept() {
        let limits = Limits { connections: 1, ..Limits::default() };
        assert_eq!(Descriptors { kept: 10, closing: 0 }.fit(limits.clone()), limits);
    }

    #[test]
    fn of_few_connections_a_quarter_is_reserved_at_most() {
        let fitted = Descriptors { kept: open_files() - 20, closing: 0 }.fit(Limits::default());
        assert_eq!((fitted.connections, fitted.connections_reserved), (20, 5));
    }

    #[test]
    fn there_is_always_place_for_one() {
        let fitted = Descriptors { kept: u64::MAX, closing: 0 }.fit(Limits::default());
        assert_eq!((fitted.connections, fitted.connections_reserved), (1, 0));
    }
}
