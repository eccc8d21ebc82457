//! `ipcctl limits`: the broker's limits and how much of them is used.

use ipc_client::control;

use crate::{
    exit::Exit,
    globals::Globals,
    problem::Result,
    table::{self, Cell},
};

/// Print the broker's limits: name, value, unit; then how much is used and the most that ever was, where that is counted.
///
/// Of a limit for each peer, name or user the figures are those of the one that uses most.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ipcctl limits | grep calls")]
pub(crate) struct Limits {}

impl Limits {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let control::Limits { limits } = globals.ask("limits", &control::Empty {})?;
        table::print(globals.format, &limits, row)?;
        Ok(Exit::SUCCESS)
    }
}

fn row(limit: &control::LimitRow) -> Vec<Cell> {
    let mut row = vec![Cell::text(&limit.name), Cell::number(limit.value), Cell::text(&limit.unit)];
    if limit.used.is_some() || limit.peak.is_some() {
        row.extend([Cell::text("used"), Cell::optional(limit.used), Cell::text("peak"), Cell::optional(limit.peak)]);
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
        };
        let rows = [row(&limit("per_uid", Some(3))), row(&limit("body", None))];
        let expected = "per_uid  512  connections  used  3  peak  4\nbody     512  connections\n";
        assert_eq!(table::render(&rows), expected);
    }
}
