//! The log: lines on standard error that never make the broker wait, and never more of them than anybody can read.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    os::fd::AsFd,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::core::{Event, Moment};

/// Where events go. Lines that a full pipe does not take, or that one user causes too many of, are counted and dropped.
#[derive(Debug, Default)]
pub(crate) struct Log {
    verbose: bool,
    buckets: BTreeMap<u32, Bucket>,
    dropped: u64,
}

#[derive(Debug)]
struct Bucket {
    since: Moment,
    lines: u32,
}

impl Log {
    pub(crate) fn new(verbose: bool) -> Self {
        Self { verbose, ..Self::default() }
    }

    /// Writes an event, unless its user has had its lines for now. Details are written with `-v`, and then all of them.
    pub(crate) fn event(&mut self, now: Moment, event: &Event) {
        if event.is_detail() && !self.verbose {
            return;
        }
        if event.is_detail() || self.may_write(now, event.uid()) {
            self.line(format_args!("{event}"));
        } else {
            self.dropped += 1;
        }
    }

    /// Writes a line about the broker itself that may come often.
    pub(crate) fn trouble(&mut self, now: Moment, text: std::fmt::Arguments<'_>) {
        if self.may_write(now, NOBODY) {
            self.line(text);
        } else {
            self.dropped += 1;
        }
    }

    /// Writes a line about the broker itself.
    pub(crate) fn line(&mut self, text: std::fmt::Arguments<'_>) {
        let mut line = format!("ipcd: {text}");
        if self.dropped > 0 {
            line = format!("{line} dropped_lines={}", self.dropped);
        }
        line.truncate(line.floor_char_boundary(LINE_LEN));
        line.push('\n');
        if takes_a_line() && io::stderr().write_all(line.as_bytes()).is_ok() {
            self.dropped = 0;
        } else {
            self.dropped += 1;
        }
    }

    fn may_write(&mut self, now: Moment, uid: u32) -> bool {
        if self.buckets.len() >= USERS_KEPT {
            self.buckets.retain(|_, bucket| now.since(bucket.since) < PERIOD);
        }
        let bucket = self.buckets.entry(uid).or_insert(Bucket { since: now, lines: 0 });
        if now.since(bucket.since) >= PERIOD {
            *bucket = Bucket { since: now, lines: 0 };
        }
        bucket.lines += 1;
        bucket.lines <= LINES_PER_PERIOD
    }
}

/// Whether standard error takes a line at once: a pipe is writable when PIPE_BUF (4,096) bytes fit (pipe(7)), and a line has less.
/// The descriptor may be shared with others, so it must not be made non-blocking.
fn takes_a_line() -> bool {
    let stderr = io::stderr();
    let fd = stderr.as_fd();
    let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut fds, Some(&now)), Ok(1)) && fds.iter().all(|fd| fd.revents().contains(PollFlags::OUT))
}

/// Whom the broker's own trouble is counted for: no user has this id (setreuid(2)).
const NOBODY: u32 = u32::MAX;
/// Longest line, in bytes.
const LINE_LEN: usize = 2_000;
/// Lines that one user causes in one period.
const LINES_PER_PERIOD: u32 = 10;
const PERIOD: Duration = Duration::from_secs(10);
/// Users whose lines are counted, before those of past periods are forgotten.
const USERS_KEPT: usize = 1_024;
