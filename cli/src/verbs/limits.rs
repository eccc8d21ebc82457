//! `ipcctl limits`: the broker's limits and how much of them is used.

use ipc_client::control;

use crate::{
    exit::Exit,
    globals::Globals,
    problem::Result,
    table::{self, Cell},
};

/// Print the broker's limits: name, value, then how much is used and the most that ever was, where that is counted.
///
/// For a limit per peer, name or user these are the figures of the one that uses most. The unit is part of the name, or stands last.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ipcctl limits | grep calls")]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let control::Limits { limits } = globals.ask("limits", &control::Empty {})?;
        table::print(globals.format, &limits, row)?;
        Ok(Exit::SUCCESS)
    }
}

fn row(limit: &control::LimitRow) -> Vec<Cell> {
    let mut row = vec![Cell::text(&limit.name), Cell::number(limit.value)];
    if limit.used.is_some() || limit.peak.is_some() {
        row.extend([Cell::text("used"), Cell::optional(limit.used), Cell::text("peak"), Cell::optional(limit.peak)]);
    }
    row.extend(table::unit(&limit.name, &limit.unit));
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_and_peak_follow_where_they_are_counted() {
        let limit = |name: &str, used| control::LimitRow {
            name: name.into(),
            value: 512,
            unit: "connections".into(),
            used,
            peak: used.map(|n| n + 1),
        };
        let rows = [row(&limit("connections_per_uid", Some(3))), row(&limit("backlog", None))];
        let expected = "connections_per_uid  512  used         3  peak  4\nbacklog              512  connections\n";
        assert_eq!(table::render(&rows), expected);
    }
}
