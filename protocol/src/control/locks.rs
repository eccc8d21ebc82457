//! The operations on locks.

use serde::{Deserialize, Serialize};

use super::count;
use crate::wire::name::{PeerNumber, ServiceName};

/// `ipc.lock`: the calling peer takes a place of a lock, and keeps it until it gives it back or is gone. Answered once a place is
/// free, in order of arrival; ends with `deadline` if that doesn't happen in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// The lock: a name like that of a service, with which it has nothing to do.
    pub name: ServiceName,
    /// How many may hold it at once. All that hold it or wait for it must agree.
    #[serde(default = "count::one", deserialize_with = "count::at_least_one")]
    pub places: u32,
    /// Whether to wait. If not, and no place is free, the call ends with `busy`.
    #[serde(default = "yes")]
    pub wait: bool,
}

/// `ipc.unlock`: the calling peer gives a lock back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlock {
    /// The lock.
    pub name: ServiceName,
}

/// A lock, as `ipc.show` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockShown {
    /// How many may hold it at once.
    pub places: u32,
    /// Who holds it, up to 32 of them.
    pub holders: Vec<LockWaiter>,
    /// Who waits, in order, up to 32 of them.
    pub waiting: Vec<LockWaiter>,
    /// How many wait in all.
    pub waiters: u32,
}

/// A peer that holds a lock, or waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockWaiter {
    /// Its number.
    pub peer: PeerNumber,
    /// Its user.
    pub uid: u32,
    /// Its process, unless it lives in a pid namespace that the broker can't see.
    pub pid: Option<u32>,
    /// Program and version, as it claims: never checked.
    pub agent: String,
}

fn yes() -> bool {
    true
}
