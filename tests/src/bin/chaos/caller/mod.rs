//! A caller: it calls all services in all ways, and writes down what it is told.

mod datagrams;
mod frames;
mod library;
mod pace;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use ipc_client::Error;

use crate::{
    ledger::{CallId, End, Ends, Flaw, Life, Told},
    place::{Halt, Place},
    work::Kind,
};

/// How a caller speaks with the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The client library, on many threads; also by datagram, and on connections for one call each.
    Library,
    /// Frames by hand: it sees an end that comes twice.
    Frames,
}

/// The callers.
const CALLERS: [Way; 5] = [Way::Library, Way::Frames, Way::Library, Way::Frames, Way::Frames];

/// Whether a caller writes an end down when it comes. With the library, a thread waits for one of its calls after the other.
pub(crate) fn is_prompt(caller: u8) -> bool {
    CALLERS.get(usize::from(caller)) == Some(&Way::Frames)
}

/// The number of callers.
pub(crate) const COUNT: u8 = 5;

/// What the threads of a caller share.
#[derive(Debug)]
struct Journal {
    life: Life,
    /// Calls per second.
    rate: u64,
    calls: AtomicU64,
    ends: Ends,
}

/// Calls until standard input ends, then waits for all ends.
pub(crate) fn run(place: &Place) {
    let halt = Halt::watch(None);
    let life = Life { caller: place.index, number: place.life };
    let share = Place { rate: (place.rate / u64::from(COUNT)).max(1), ..place.clone() };
    let journal = Journal { life, rate: share.rate, calls: AtomicU64::new(0), ends: Ends::create(place) };
    match CALLERS[usize::from(place.index)] {
        Way::Library => library::call(&share, &halt, &journal),
        Way::Frames => frames::call(&share, &halt, &journal),
    }
    journal.ends.finish(life, journal.calls.load(Ordering::SeqCst));
}

impl Journal {
    fn next(&self) -> CallId {
        CallId::new(self.life, self.calls.fetch_add(1, Ordering::SeqCst))
    }
}

/// A call that a thread has begun.
#[derive(Clone, Copy, Debug)]
struct Begun {
    id: CallId,
    kind: Kind,
    at: Instant,
    timeout: Duration,
}

impl Begun {
    fn now(id: CallId, kind: Kind, timeout: Duration) -> Self {
        Self { id, kind, at: Instant::now(), timeout }
    }

    fn is_late(&self) -> bool {
        self.at.elapsed() > self.timeout + SLACK
    }

    fn ends(&self, told: Told) -> End {
        let end = End::now(self.id, told, self.kind);
        if self.is_late() { end.flawed(Flaw::Late) } else { end }
    }

    fn fails(&self, error: &Error) -> End {
        self.ends(Told::error(error.code(), error.retry()))
    }
}

/// What a call without a timeout of its own may take: the broker's default here.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How much later than its deadline a call may end, on a busy machine whose processes are stopped for a while now and then: the
/// library itself waits for a second.
const SLACK: Duration = Duration::from_secs(5);
