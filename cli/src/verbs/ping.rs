//! `ipcctl ping`: is the broker there, and how quick is it.

use serde::Serialize;

use crate::{exit::Exit, format::Format, globals::Globals, out, problem::Result};

/// Measure a round trip to the broker, after connecting.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ipcctl ping && echo 'the broker answers'")]
pub(crate) struct Args {}

#[derive(Serialize)]
struct RoundTrip {
    round_trip_us: f64,
}

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let link = globals.connect("ping")?;
        link.ping()?; // the first one has to wait for the broker's welcome
        let round_trip_us = (link.ping()?.as_secs_f64() * 1e7).round() / 10.0;
        match globals.format {
            Format::Text => out::print(&format!("{round_trip_us:.1} us\n"))?,
            Format::Json => out::ndjson(&[RoundTrip { round_trip_us }])?,
        }
        Ok(Exit::SUCCESS)
    }
}
