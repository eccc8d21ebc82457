//! `ipcctl man`: manual pages, for whoever packages it.

use clap_mangen::Man as Page;

use crate::{
    exit::Exit,
    out,
    problem::{Problem, Result},
};

/// Print a manual page: that of ipcctl, or that of a verb.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ipcctl man send > ipcctl-send.1")]
pub(crate) struct Man {
    /// The verb
    verb: Option<String>,
}

impl Man {
    pub(crate) fn run(self, tree: clap::Command) -> Result<Exit> {
        let command = match &self.verb {
            None => tree,
            Some(verb) => tree.find_subcommand(verb).cloned().ok_or_else(|| unknown(verb))?,
        };
        let mut page = Vec::new();
        let written = Page::new(command).render(&mut page);
        written.map_err(|error| Problem::host("man", "cannot render the page", &error))?;
        out::print(&String::from_utf8_lossy(&page))?;
        Ok(Exit::SUCCESS)
    }
}

/// There is no such verb.
pub(crate) fn unknown(verb: &str) -> Problem {
    Problem::usage("", format!("there is no verb '{verb}'")).hint("see 'ipcctl --help'")
}
