//! `ipcctl completions`: the completions for a shell.

use crate::{args, exit::Exit, problem::Result, stdout};

/// Print the completions for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ipcctl completions bash > ~/.local/share/bash-completion/completions/ipcctl")]
pub(crate) struct Completions {
    /// Which shell
    shell: clap_complete::Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut args::tree(), "ipcctl", &mut script);
        stdout::print(&String::from_utf8_lossy(&script))?;
        Ok(Exit::SUCCESS)
    }
}
