//! `ipcctl help`: a verb, or all errors and exit codes.

use ipc_client::{ERROR_TABLE, ErrorRow};
use serde::Serialize;

use crate::{
    exit::Exit,
    format::Format,
    globals::Globals,
    out,
    problem::Result,
    table::{self, Cell},
};

/// Explain a verb, or list all errors and exit codes.
///
/// The columns of 'help errors': name, exit code, JSON-RPC code, whether the call may have run, what happened.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ipcctl help send\n  ipcctl help errors")]
pub(crate) struct Args {
    /// A verb, or 'errors'
    topic: Option<String>,
}

/// What is to be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic<'a> {
    /// `ipcctl` as a whole.
    All,
    /// All errors and exit codes.
    Errors,
    /// This verb.
    Verb(&'a str),
}

/// An error of ipcctl alone, which no frame carries. As JSON it has the members of the others.
#[derive(Debug, Serialize)]
struct OwnRow {
    code: Option<u16>,
    name: &'static str,
    exit: u8,
    json_rpc: Option<i32>,
    may_have_run: &'static str,
    sentence: &'static str,
}

/// The errors of ipcctl alone.
const OWN: [OwnRow; 4] = [
    own("output", 74, "unknown", "standard output cannot be written"),
    own("failed", 125, "unknown", "the host refuses what ipcctl itself needs"),
    own("not_executable", 126, "no", "the command cannot be executed"),
    own("not_found", 127, "no", "there is no such command"),
];

const fn own(name: &'static str, exit: u8, may_have_run: &'static str, sentence: &'static str) -> OwnRow {
    OwnRow { code: None, name, exit, json_rpc: None, may_have_run, sentence }
}

impl Args {
    /// What is asked for. All but the errors is a text of the command line's own.
    pub(crate) fn topic(&self) -> Topic<'_> {
        match self.topic.as_deref() {
            None => Topic::All,
            Some("errors") => Topic::Errors,
            Some(verb) => Topic::Verb(verb),
        }
    }

    /// Prints the errors.
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        match globals.format {
            Format::Text => out::print(&table::render(&rows()))?,
            Format::Json => {
                out::ndjson(ERROR_TABLE)?;
                out::ndjson(&OWN)?;
            }
        }
        Ok(Exit::SUCCESS)
    }
}

/// The error table and the errors of ipcctl alone, with a header.
pub(crate) fn rows() -> Vec<Vec<Cell>> {
    let header = vec![
        Cell::text("name"),
        Cell::number("exit"),
        Cell::number("json-rpc"),
        Cell::text("may-have-run"),
        Cell::text("sentence"),
    ];
    let own = OWN.iter().map(|row| {
        vec![
            Cell::text(row.name),
            Cell::number(row.exit),
            Cell::optional(row.json_rpc),
            Cell::text(row.may_have_run),
            Cell::text(row.sentence),
        ]
    });
    std::iter::once(header).chain(ERROR_TABLE.iter().map(row)).chain(own).collect()
}

fn row(row: &ErrorRow) -> Vec<Cell> {
    // The exit of `cancelled` is that of the signal; the table of the protocol has the one of SIGINT.
    let exit = if row.name == "cancelled" { "128+signal".to_owned() } else { row.exit.to_string() };
    vec![
        Cell::text(row.name),
        Cell::number(exit),
        Cell::optional(row.json_rpc),
        Cell::text(row.may_have_run),
        Cell::text(row.sentence),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_error() {
        let text = table::render(&rows());
        assert_eq!(text.lines().count(), ERROR_TABLE.len() + OWN.len() + 1);
        assert!(text.lines().any(|line| line.starts_with("not_found") && line.contains("127")), "{text}");
        let busy: Vec<&str> = text.lines().find(|l| l.starts_with("busy")).unwrap().split_whitespace().collect();
        assert_eq!(busy[..4], ["busy", "75", "-32004", "no"]);
    }
}
