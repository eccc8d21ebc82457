//! The verbs, one file each.

mod bench;
mod completions;
mod help;
mod limits;
mod lines;
mod list;
mod man;
mod peers;
mod ping;
mod run;
mod send;
mod serve;
mod show;
mod stats;
mod wait;

use crate::{args::Globals, exit::Exit, problem::Result};

/// What `ipcctl` can do. The arguments of a verb are built only when it is the one that was chosen.
#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
pub(crate) enum Verb {
    /// Call a service, wait, and print its reply
    Send(send::Send),
    /// Answer calls by running a command
    Serve(serve::Serve),
    /// Run a command with a broker of its own
    Run(run::Run),
    /// Wait until a name is offered, or until it is gone
    Wait(wait::Wait),
    /// List the names on offer
    List(list::List),
    /// Show everything about one name
    Show(show::Show),
    /// List the processes that are connected
    Peers(peers::Peers),
    /// Print the broker's counters
    Stats(stats::Stats),
    /// Print the broker's limits and how much of them is used
    Limits(limits::Limits),
    /// Measure a round trip to the broker
    Ping(ping::Ping),
    /// Measure calls and connections through the running broker
    Bench(bench::Bench),
    /// Print the completions for a shell
    Completions(completions::Completions),
    /// Print a manual page
    #[command(hide = true)]
    Man(man::Man),
    /// Explain a verb, or list all errors and exit codes
    Help(help::Help),
}

impl Verb {
    /// Does it.
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        match self {
            Self::Send(verb) => verb.run(globals),
            Self::Serve(verb) => verb.run(globals),
            Self::Run(verb) => verb.run(globals),
            Self::Wait(verb) => verb.run(globals),
            Self::List(verb) => verb.run(globals),
            Self::Show(verb) => verb.run(globals),
            Self::Peers(verb) => verb.run(globals),
            Self::Stats(verb) => verb.run(globals),
            Self::Limits(verb) => verb.run(globals),
            Self::Ping(verb) => verb.run(globals),
            Self::Bench(verb) => verb.run(globals),
            Self::Completions(verb) => verb.run(),
            Self::Man(verb) => verb.run(),
            Self::Help(verb) => verb.run(globals),
        }
    }
}
