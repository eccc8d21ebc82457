//! Options that every verb takes.

use std::{ffi::OsString, time::Duration};

use crate::{
    duration, escape,
    format::{Format, Loudness},
    term,
};

/// Options that each verb takes, before it or after it.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Globals {
    /// The broker's socket: a path, @NAME (abstract) or fd:N [default: $IPCD_SOCKET, else ipcd/ipcd.sock below
    /// $XDG_RUNTIME_DIR or /run]
    #[arg(short, long, global = true, value_name = "ADDR")]
    pub(crate) socket: Option<OsString>,

    /// How long to wait for an answer, with a unit: 200ms, 5s, 1m; the broker cuts it to 1h [default: 30s]
    #[arg(short = 't', global = true, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) time: Option<Duration>,

    /// Form of output and of error lines: text, or one JSON document a line
    #[arg(short = 'o', long = "output", global = true, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    #[arg(hide_default_value = true, hide_possible_values = true)]
    pub(crate) format: Format,

    /// Print no error line: the exit code says it all
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,

    /// Say on standard error what is being done
    #[arg(short, long, global = true)]
    verbose: bool,
}

impl Globals {
    /// How much is said on standard error.
    pub(crate) fn loudness(&self) -> Loudness {
        match (self.quiet, self.verbose) {
            (true, _) => Loudness::Quiet,
            (false, true) => Loudness::Verbose,
            (false, false) => Loudness::Normal,
        }
    }

    /// How long an answer is waited for, if that is not left to the broker. A handler that calls another service has no more time
    /// than its own caller gives it.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let inherited = std::env::var("IPC_DEADLINE_MS").ok().and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
        self.time.into_iter().chain(inherited.map(duration::capped)).min()
    }

    /// Says something on standard error if that was asked for.
    pub(crate) fn say(&self, text: impl FnOnce() -> String) {
        if self.loudness() == Loudness::Verbose {
            let line = format!("ipcctl: {}\n", escape::line(&text()));
            let _ = term::write_all(std::io::stderr(), line.as_bytes()); // there is nowhere else to say it
        }
    }
}
