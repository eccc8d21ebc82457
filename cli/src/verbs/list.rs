//! `ipcctl list`: the names on offer.

use ipc_client::{Pattern, ServiceName, control};
use serde::Serialize;

use crate::{exit::Exit, format::Format, globals::Globals, out, problem::Result};

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
        let mut question = control::List { pattern: self.pattern, after: None };
        loop {
            let page: control::Names = link.ask("list", &question)?;
            match globals.format {
                Format::Text => out::print(&page.names.iter().map(|name| format!("{name}\n")).collect::<String>())?,
                Format::Json => out::ndjson(&page.names.iter().map(|name| Row { name }).collect::<Vec<_>>())?,
            }
            if page.next.is_none() {
                return Ok(Exit::SUCCESS);
            }
            question.after = link.further("list", question.after, page.next)?;
        }
    }
}
