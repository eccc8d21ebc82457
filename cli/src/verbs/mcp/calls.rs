//! Requests that are under way, by their ids: calls, and what the broker is asked for them.

use std::{
    collections::HashMap,
    fmt::{self, Display, Formatter},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use ipc_client::{
    Bell, Response,
    poll::{self, PollFd, PollFlags},
};
use serde_json::Value;

use super::{outlet::Outlet, progress::Progress};
use crate::{
    mcp::{
        message::{self, Fault},
        version::Era,
    },
    term,
};

/// All of them. What is said of a call is said under its lock: nothing comes behind its end.
#[derive(Debug)]
pub(super) struct Calls {
    outlet: Arc<Outlet>,
    table: Mutex<Table>,
    /// Rings when one has ended.
    ended: Bell,
}

#[derive(Debug, Default)]
struct Table {
    calls: HashMap<String, Call>,
    last: u64,
}

#[derive(Debug)]
struct Call {
    /// Tells it from an earlier one with the same id.
    number: u64,
    /// Rings when the client wants no answer any more.
    cancel: Bell,
    progress: Option<Progress>,
}

/// A place in the table, with the thread that works on the call.
#[derive(Debug)]
pub(super) struct Place {
    calls: Arc<Calls>,
    id: Value,
    number: u64,
    era: Era,
}

/// Why a call gets no place.
#[derive(Debug)]
pub(super) enum Full {
    /// The id is that of another call.
    Same,
    /// Too many are under way.
    TooMany,
    /// The host has no descriptors left.
    Host(io::Error),
    /// The host has no threads left.
    Threads,
}

impl Display for Full {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("a request with this id is under way"),
            Self::TooMany => f.write_str("too many calls are under way"),
            Self::Host(error) => write!(f, "cannot make an eventfd: {}", term::reason(error)),
            Self::Threads => f.write_str("this host has no threads left; the call has not run"),
        }
    }
}

impl Calls {
    pub(super) fn new(outlet: Arc<Outlet>) -> io::Result<Self> {
        Ok(Self { outlet, table: Mutex::default(), ended: Bell::new()? })
    }

    /// Waits until all have been answered, the client takes no answers any more, or the time has come. Returns how many are left that it
    /// waits for.
    pub(super) fn finish(&self, until: Instant) -> io::Result<usize> {
        let stdout = io::stdout();
        loop {
            self.ended.silence();
            let left = self.table().calls.len();
            if left == 0 || Instant::now() >= until {
                return Ok(left);
            }
            let next = self.beat(Instant::now()).into_iter().chain([until]).min();
            // Without events of interest the kernel still says that a pipe has no reader.
            let mut watched = [PollFd::new(&self.ended, PollFlags::IN), PollFd::new(&stdout, PollFlags::empty())];
            poll::wait(&mut watched, next)?;
            if watched.last().is_some_and(|stdout| !stdout.revents().is_empty()) {
                return Ok(0);
            }
        }
    }

    /// Enters a call.
    pub(super) fn enter(self: &Arc<Self>, id: &Value, token: Option<Value>, era: Era) -> Result<(Place, Bell), Full> {
        let mut table = self.table();
        if table.calls.len() >= MOST {
            return Err(Full::TooMany);
        }
        if table.calls.contains_key(&key(id)) {
            return Err(Full::Same);
        }
        let cancel = Bell::new().map_err(Full::Host)?;
        table.last += 1;
        let progress = token.map(|token| Progress::new(token, Instant::now()));
        let number = table.last;
        table.calls.insert(key(id), Call { number, cancel: cancel.clone(), progress });
        Ok((Place { calls: self.clone(), id: id.clone(), number, era }, cancel))
    }

    /// The client wants no answer any more, and gets none. Whether there was such a call.
    pub(super) fn cancel(&self, id: &Value) -> bool {
        let call = self.table().calls.remove(&key(id));
        self.ended.ring();
        call.inspect(|call| call.cancel.ring()).is_some()
    }

    /// Says of calls of which nothing was said for long that they still run. Returns when to do so next.
    pub(super) fn beat(&self, now: Instant) -> Option<Instant> {
        let mut table = self.table();
        let told = table.calls.values_mut().filter_map(|call| call.progress.as_mut());
        let mut next: Option<Instant> = None;
        for progress in told {
            if let Some(message) = progress.beat(now) {
                self.outlet.say(&message);
            }
            next = next.into_iter().chain([progress.beat_at()]).min();
        }
        next
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether the client still waits.
    pub(super) fn is_wanted(&self) -> bool {
        self.calls.table().calls.get(&key(&self.id)).is_some_and(|call| call.number == self.number)
    }

    /// Whether the client wants to be told of progress.
    pub(super) fn is_watched(&self) -> bool {
        self.with_progress(|_| ()).is_some()
    }

    /// An item has come.
    pub(super) fn item(&self, item: &Response) {
        self.with_progress(|progress| {
            if let Some(message) = progress.item(item, Instant::now()) {
                self.calls.outlet.say(&message);
            }
        });
    }

    /// Says what has waited for it. Returns when to do so next.
    pub(super) fn catch_up(&self) -> Option<Instant> {
        self.with_progress(|progress| {
            if let Some(message) = progress.due(Instant::now()) {
                self.calls.outlet.say(&message);
            }
            progress.due_at()
        })?
    }

    /// Answers a call, unless the client wants that no more.
    pub(super) fn answer(self, result: Value) {
        let result = self.era.result(result);
        self.end(Ok(result));
    }

    /// Ends the request, unless the client wants no answer any more.
    pub(super) fn end(self, outcome: Result<Value, Fault>) {
        let mut table = self.calls.table();
        if table.calls.get(&key(&self.id)).is_some_and(|call| call.number == self.number) {
            table.calls.remove(&key(&self.id));
            self.calls.outlet.say(&message::reply(&self.id, outcome));
            self.calls.ended.ring();
        }
    }

    fn with_progress<T>(&self, act: impl FnOnce(&mut Progress) -> T) -> Option<T> {
        let mut table = self.calls.table();
        let call = table.calls.get_mut(&key(&self.id)).filter(|call| call.number == self.number)?;
        call.progress.as_mut().map(act)
    }
}

/// `1` and `"1"` are two ids.
fn key(id: &Value) -> String {
    id.to_string()
}

/// Calls at once. Each has a thread and a place at the broker, which allows a user 1,024.
const MOST: usize = 128;
