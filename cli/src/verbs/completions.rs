//! `ipcctl completions`: the completions for a shell.

use crate::{exit::Exit, out, problem::Result};

/// Print the completions for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ipcctl completions bash > ~/.local/share/bash-completion/completions/ipcctl")]
pub(crate) struct Completions {
    /// Which shell
    shell: clap_complete::Shell,
}

impl Completions {
    pub(crate) fn run(self, mut tree: clap::Command) -> Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut tree, "ipcctl", &mut script);
        out::print(&String::from_utf8_lossy(&script))?;
        Ok(Exit::SUCCESS)
    }
}
