//! `ipcctl limits`: the broker's limits and how much of them is used.

use ipc_client::control;

use crate::{
    exit::Exit,
    globals::Globals,
    problem::Result,
    table::{self, Cell},
};

/// Print the broker's limits, their use, and the memory they allow.
///
/// After the name and the value, where they apply: 'used' is how much is in use now, 'peak' the most that ever was (of a limit per
/// peer, name or user: by the one that uses most), and 'worst' the memory of broker and kernel, in bytes, once the limit is used up.
///
/// A limit without 'worst' takes no memory, or takes it out of bytes_total. All 'worst' together, and what the broker needs for
/// itself, are bytes_worst in 'ipcctl stats': the most memory that it takes. The unit follows the value if the name doesn't say it.
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
    row.extend(table::unit(&limit.name, &limit.unit));
    if limit.used.is_some() || limit.peak.is_some() {
        row.extend([Cell::text("used"), Cell::optional(limit.used), Cell::text("peak"), Cell::optional(limit.peak)]);
    }
    if limit.worst.is_some() {
        row.extend([Cell::text("worst"), Cell::optional(limit.worst), Cell::text("bytes")]);
    }
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
        assert_eq!(table::render(&[row(&limit)]), "bytes_total  3000  used  10  peak  20  worst  4000  bytes\n");
    }

    #[test]
    fn the_unit_of_the_value_is_not_taken_for_that_of_the_memory() {
        let limit = control::LimitRow {
            name: "backlog".into(),
            value: 17,
            unit: "connections".into(),
            used: None,
            peak: None,
            worst: Some(4_000),
        };
        assert_eq!(table::render(&[row(&limit)]), "backlog  17  connections  worst  4000  bytes\n");
    }
}
