//! How far a long transfer is, on a terminal.

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{duration, format::Loudness, globals::Globals, term};

/// Counts bytes, and tells of them on standard error once a second, if that is a terminal. The line goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Meter {
    bytes: AtomicU64,
    total: Option<u64>,
    began: Instant,
    /// Whether there is a line on the terminal.
    is_shown: AtomicBool,
}

impl Meter {
    /// Begins to count. `total` is the size of a file.
    pub(crate) fn start(total: Option<u64>, globals: &Globals) -> Arc<Self> {
        let (bytes, is_shown) = (AtomicU64::new(0), AtomicBool::new(false));
        let meter = Arc::new(Self { bytes, total, began: Instant::now(), is_shown });
        if io::stderr().is_terminal() && globals.loudness() > Loudness::Quiet {
            let shown = Arc::downgrade(&meter);
            // Without a thread the transfer runs all the same.
            let _ = thread::Builder::new().spawn(move || {
                loop {
                    thread::sleep(PERIOD);
                    let Some(meter) = shown.upgrade() else { return };
                    meter.show();
                }
            });
        }
        meter
    }

    /// More bytes went by.
    pub(crate) fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Makes room on the terminal for something else.
    pub(crate) fn clear(&self) {
        if self.is_shown.swap(false, Ordering::Relaxed) {
            let _ = term::write_all(io::stderr(), b"\r\x1b[K"); // there is nowhere else to say it
        }
    }

    fn show(&self) {
        self.is_shown.store(true, Ordering::Relaxed);
        let line = format!("\r{}\x1b[K", line(self.bytes.load(Ordering::Relaxed), self.total, self.began.elapsed()));
        let _ = term::write_all(io::stderr(), line.as_bytes()); // there is nowhere else to say it
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Bytes so far, of how many, how fast, and how long it takes still.
fn line(bytes: u64, total: Option<u64>, took: Duration) -> String {
    let rate = bytes as f64 / took.as_secs_f64().max(0.001);
    let so_far = format!("{:.1} MB, {:.1} MB/s", bytes as f64 / 1e6, rate / 1e6);
    let Some(total) = total.filter(|_| rate > 0.0) else { return so_far };
    let left =
        Duration::try_from_secs_f64((total.saturating_sub(bytes) as f64 / rate).round()).unwrap_or(Duration::MAX);
    format!(
        "{:.1} of {:.1} MB, {:.1} MB/s, {} left",
        bytes as f64 / 1e6,
        total as f64 / 1e6,
        rate / 1e6,
        duration::display(left)
    )
}

/// A transfer that takes no longer shows nothing.
const PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_time_left_and_a_pipe_has_none() {
        let second = Duration::from_secs(1);
        assert_eq!(line(10_000_000, Some(100_000_000), second), "10.0 of 100.0 MB, 10.0 MB/s, 9s left");
        assert_eq!(line(10_000_000, None, second), "10.0 MB, 10.0 MB/s");
        assert_eq!(line(0, Some(5), second), "0.0 MB, 0.0 MB/s");
    }
}
