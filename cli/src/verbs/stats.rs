//! `ipcctl stats`: the broker's counters.

use ipc_client::control;

use crate::{
    exit::Exit,
    globals::Globals,
    problem::Result,
    table::{self, Cell},
};

/// Print the broker's counters since it started: name and value, and the unit where the name doesn't say it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ipcctl stats | grep dropped")]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let control::Stats { stats } = globals.ask("stats", &control::Empty {})?;
        table::print(globals.format, &stats, row)?;
        Ok(Exit::SUCCESS)
    }
}

fn row(stat: &control::StatRow) -> Vec<Cell> {
    let mut row = vec![Cell::text(&stat.name), Cell::number(stat.value)];
    row.extend(table::unit(&stat.name, &stat.unit));
    row
}
