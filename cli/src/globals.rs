//! Options that every verb takes.

use std::{ffi::OsString, time::Duration};

use crate::{
    duration, escape,
    format::{Format, Loudness},
    term,
};

/// What the options that every verb takes have chosen.
#[derive(Debug)]
pub(crate) struct Globals {
    /// The broker's socket.
    pub(crate) socket: Option<OsString>,
    /// How long to wait for an answer.
    pub(crate) time: Option<Duration>,
    /// Form of output and of error lines.
    pub(crate) format: Format,
    loudness: Loudness,
}

// Options that each verb takes, before it or after it. Not a doc comment: clap would show that as what the verb does.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Options {
    /// The broker's socket: a path, @NAME (abstract) or fd:N (inherited) [default: $IPCD_SOCKET, else
    /// $XDG_RUNTIME_DIR/ipcd/ipcd.sock, else /run/ipcd/ipcd.sock (root) or /tmp/ipcd-UID/ipcd.sock]
    #[arg(short, long, value_name = "ADDR")]
    socket: Option<OsString>,

    /// How long to wait for an answer, with a unit: 200ms, 5s, 1m; the broker allows up to 1h [default: 30s]
    #[arg(short = 't', value_name = "DURATION", value_parser = duration::parse)]
    time: Option<Duration>,

    /// Form of output and of error lines: text, or json, one document per line
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum, hide_possible_values = true)]
    format: Option<Format>,

    /// Print no error line, leave it to the exit code
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,

    /// Print on standard error what is being done
    #[arg(short, long)]
    verbose: bool,
}

impl Options {
    /// The options among what was parsed for a verb. clap's own way would copy all of that.
    pub(crate) fn among(matches: &clap::ArgMatches) -> Self {
        Self {
            socket: matches.get_one("socket").cloned(),
            time: matches.get_one("time").copied(),
            format: matches.get_one("format").copied(),
            quiet: matches.get_flag("quiet"),
            verbose: matches.get_flag("verbose"),
        }
    }

    /// These options, which stand after the verb, and those before it.
    pub(crate) fn and(self, before: Self) -> Globals {
        Globals {
            socket: self.socket.or(before.socket),
            time: self.time.or(before.time),
            format: self.format.or(before.format).unwrap_or(Format::Text),
            loudness: match (self.quiet || before.quiet, self.verbose || before.verbose) {
                (true, _) => Loudness::Quiet,
                (false, true) => Loudness::Verbose,
                (false, false) => Loudness::Normal,
            },
        }
    }
}

impl Globals {
    /// The same in silence, with another time to wait.
    pub(crate) fn with_time(&self, time: Duration) -> Self {
        Self { socket: self.socket.clone(), time: Some(time), format: self.format, loudness: Loudness::Quiet }
    }

    /// How much is said on standard error.
    pub(crate) fn loudness(&self) -> Loudness {
        self.loudness
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
