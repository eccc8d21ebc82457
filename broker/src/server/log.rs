//! The log: lines on standard error. They never make the broker wait, and no user can cause more than a few.

use std::{collections::BTreeMap, io, time::Duration};

use super::line::write_line;
use crate::core::{Event, Moment};

/// Writes events. A line that does not fit the pipe or exceeds its user's share is dropped and counted.
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

    /// Writes an event, unless its user has used up its share. Details are written only with `-v`, and then without a limit.
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

    /// Writes a line about the broker itself that may be frequent.
    pub(crate) fn trouble(&mut self, now: Moment, text: std::fmt::Arguments<'_>) {
        if self.may_write(now, BROKER) {
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
        match write_line(io::stderr(), &line) {
            Ok(()) => self.dropped = 0,
            Err(_) => self.dropped += 1,
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

/// The broker's own lines count against this id, which no user can have (setreuid(2)).
const BROKER: u32 = u32::MAX;
/// The number of lines of one user in one period.
const LINES_PER_PERIOD: u32 = 10;
const PERIOD: Duration = Duration::from_secs(10);
/// The number of users that are counted before those of past periods are forgotten.
const USERS_KEPT: usize = 1_024;
