//! `ipcctl list`: the names on offer.

use ipc_client::{Pattern, ServiceName, control};
use serde::Serialize;

use crate::{exit::Exit, format::Format, globals::Globals, out, pages, problem::Result};

/// List the names on offer, sorted, one per line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ipcctl list shop.      # all names below shop")]
pub(crate) struct Args {
    /// Only names that match: 'a.*' (one more label), 'a.**' (all below), 'a.' (the same, and needs no quotes)
    pattern: Option<Pattern>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a ServiceName,
}

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let link = globals.connect("list")?;
        let question = |after| control::List { pattern: self.pattern.clone(), after };
        pages::each::<control::Names, _>(&link, "list", question, |names| {
            match globals.format {
                Format::Text => out::print(&names.iter().map(|name| format!("{name}\n")).collect::<String>())?,
                Format::Json => out::ndjson(&names.iter().map(|name| Row { name }).collect::<Vec<_>>())?,
            }
            Ok(true)
        })?;
        Ok(Exit::SUCCESS)
    }
}
