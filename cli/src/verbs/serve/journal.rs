//! What a service writes to standard error: nothing while all is well, a line when its registration changes, and with -v a line for
//! each call.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ipc_client::{Caller, Change, Context, Error, ErrorCode, Failed, Incoming, Response};

use crate::{body, child::log::Log, duration, escape, format::Loudness};

/// Writes the lines. If the reader is too slow, lines are lost rather than calls delayed.
#[derive(Debug)]
pub(crate) struct Journal {
    name: String,
    loudness: Loudness,
    /// The last reason told for not being registered: attempts follow each other quickly.
    told: Mutex<Option<ErrorCode>>,
}

impl Journal {
    pub(crate) fn new(name: &str, loudness: Loudness) -> Self {
        Self { name: name.to_owned(), loudness, told: Mutex::new(None) }
    }

    /// There is no broker yet.
    pub(crate) fn waiting(&self, patience: Duration, error: &Error) {
        let patience = duration::display(patience);
        self.tell(&self.name, || format!("waiting for a broker, for up to {patience}: {}", error.text()));
    }

    /// The service is registered, and callable by `number`.
    pub(crate) fn registered(&self, number: impl std::fmt::Display) {
        self.detail(&self.name, || format!("answering as {number}"));
    }

    /// The service answers `jobs` calls at once, maybe fewer than wanted.
    pub(crate) fn jobs(&self, jobs: usize, wanted: u16) {
        if jobs < usize::from(wanted) {
            self.tell(&self.name, || {
                let reason =
                    if jobs < MOST_JOBS.into() { "there are no more threads" } else { "more are not possible" };
                format!("answering {jobs} calls at once instead of {wanted}: {reason}")
            });
        }
    }

    /// The server behind the service has ended, and is started again.
    pub(crate) fn server_ended(&self, end: &str) {
        self.tell(&self.name, || format!("the server {end}; it is started again"));
    }

    /// The server is there again.
    pub(crate) fn server_ready(&self) {
        self.detail(&self.name, || "the server is ready again".to_owned());
    }

    /// The server has written something that is no message.
    pub(crate) fn stray(&self, line: &[u8]) {
        self.detail(&self.name, || {
            let text = String::from_utf8_lossy(line);
            let shown = text.get(..text.floor_char_boundary(LONGEST_STRAY)).unwrap_or_default();
            format!("the server wrote what is no message: {}", shown.trim_end())
        });
    }

    /// The service was asked to end.
    pub(crate) fn finishing(&self) {
        self.detail(&self.name, || "finishing the calls that run".to_owned());
    }

    /// The registration was lost, refused, or is back.
    pub(crate) fn change(&self, change: &Change) {
        match change {
            Change::Lost(error) => {
                self.is_new(None);
                self.tell(&self.name, || format!("the broker is gone, registering again: {}", error.text()));
            }
            // The loss of the broker has been told.
            Change::Refused(error) if error.code() == ErrorCode::UNAVAILABLE => {}
            Change::Refused(error) if self.is_new(Some(error.code())) => {
                self.tell(&self.name, || format!("not registered yet: {}: {}", error.code(), error.text()));
            }
            Change::Returned => self.tell(&self.name, || "registered again".to_owned()),
            _ => {}
        }
    }

    /// A call has been answered.
    pub(crate) fn call(
        &self,
        incoming: &Incoming,
        context: &Context,
        took: Duration,
        outcome: &Result<Response, Failed>,
    ) {
        self.detail(&target(incoming), || {
            let way = if incoming.one_way { "a one-way call" } else { "a call" };
            let end = match outcome {
                Ok(response) if response.body.is_empty() => "an empty reply".to_owned(),
                Ok(response) => format!("a reply of {}", body::display(response.body.len(), response.encoding)),
                Err(failed) => format!("{}: {}", failed.code(), failed.text()),
            };
            format!("{way} of {} took {} ms: {end}", name_of(context.caller()), took.as_millis())
        });
    }

    fn is_new(&self, code: Option<ErrorCode>) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *told, code) != code
    }

    fn tell(&self, subject: &str, text: impl FnOnce() -> String) {
        if self.loudness >= Loudness::Normal {
            let line = format!("ipcctl: {}: {}\n", escape::line(subject), escape::line(&text()));
            Log::Pass.pass(line.as_bytes());
        }
    }

    fn detail(&self, subject: &str, text: impl FnOnce() -> String) {
        if self.loudness >= Loudness::Verbose {
            self.tell(subject, text);
        }
    }
}

fn target(incoming: &Incoming) -> String {
    match incoming.method.as_str() {
        "" => incoming.service.clone(),
        method => format!("{}.{method}", incoming.service),
    }
}

/// Who called, for a log line.
fn name_of(caller: &Caller) -> String {
    let identity = &caller.identity;
    let process = identity.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
    match caller.peer {
        Some(peer) => format!("{peer} (uid {}{process})", identity.uid),
        None => format!("a datagram (uid {}{process})", identity.uid),
    }
}

/// Calls at once: as many as the broker queues for one service by default. Each takes a thread, a process and three pipes. Four
/// times as many threads would use up the mappings of a process (max_map_count is 65,530, a thread takes four).
pub(super) const MOST_JOBS: u16 = 4_096;

/// Bytes that are shown of a line that isn't ours.
const LONGEST_STRAY: usize = 512;
