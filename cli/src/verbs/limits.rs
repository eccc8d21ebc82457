//! `ipcctl limits`: the broker's limits and how much of them is used.

use ipc_client::control;

use crate::{
    exit::Exit,
    globals::Globals,
    problem::Result,
    table::{self, Cell},
};

/// Print the broker's limits: name, value, then how much is used and the most that ever was, where that is counted, and the bytes of
/// memory once all that a limit allows is there.
///
/// For a limit per peer, name or user these are the figures of the one that uses most. What limits without bytes of memory bound is part
/// of `bytes_total`. `ipcctl stats` has the sum, `bytes_worst`. The unit is part of the name, or stands last.
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
    if limit.worst.is_some() {
        row.extend([Cell::text("worst"), Cell::optional(limit.worst)]);
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
            worst: None,
        };
        let rows = [row(&limit("connections_per_uid", Some(3))), row(&limit("backlog", None))];
        let expected = "connections_per_uid  512  used         3  peak  4\nbacklog              512  connections\n";
        assert_eq!(table::render(&rows), expected);
    }

    #[test]
    fn memory_stands_after_use() {
        let limit = control::LimitRow {
            name: "bytes_total".into(),
            value: 3_000,
            unit: "bytes".into(),
            used: Some(10),
            peak: Some(20),
            worst: Some(4_000),
        };
        assert_eq!(table::render(&[row(&limit)]), "bytes_total  3000  used  10  peak  20  worst  4000\n");
    }
}
