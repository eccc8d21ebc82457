//! Chaos: callers, services and a broker, real processes all of them, that are killed, stopped, restarted and starved at random, from
//! a printed seed.
//!
//! Services write down which calls they run, callers write down what they are told. In the pause after each round the two are joined:
//! an answered call has run exactly once, one that is safe to retry never, any other at most once; every call has ended exactly once
//! and in time; and the broker holds no more than at its start. The program exits with 1 if any of that is not so, and names the
//! calls.
//!
//! ```text
//! rounds   harm, then a pause to check      processes        callers, services and the broker
//! harm     what is done to them             service, caller  what they do
//! ledger   what they write down             verdict, report  the join of it, the sum over all rounds
//! ```
#![forbid(unsafe_code)]

mod caller;
mod clock;
mod dice;
mod harm;
mod ledger;
mod place;
mod processes;
mod report;
mod rounds;
mod service;
mod verdict;
mod work;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::harm::Harm;

/// Kills, stops and starves callers, services and a broker at random, and checks that no caller is told a lie.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What a run is like.
#[derive(Args)]
struct Options {
    /// Seconds of harm in all; the pauses in which it is checked come on top.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where the choices come from. They are the same for the same seed, though what comes of them is not: the processes run freely.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Calls per second, of all callers together. Calls are left out while there is no broker.
    #[arg(long, default_value_t = 4_000)]
    rate: u64,
    /// Seconds of a round.
    #[arg(long, default_value_t = 10)]
    round: u64,
    /// Milliseconds between two harms, on average.
    #[arg(long, default_value_t = 40)]
    pause: u64,
    /// Do only these.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Harm>,
    /// Keep what was written in the rounds with a lie in this directory.
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// What one of the processes does; `chaos` starts itself with these.
#[derive(Subcommand)]
enum Role {
    /// Answers calls until standard input ends.
    #[command(hide = true)]
    Service(place::Place),
    /// Makes calls until standard input ends.
    #[command(hide = true)]
    Caller(place::Place),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Service(place)) => service::run(&place),
        Some(Role::Caller(place)) => caller::run(&place),
        None => return rounds::run(&arguments.options),
    }
    ExitCode::SUCCESS
}

impl Options {
    fn rounds(&self) -> u64 {
        self.seconds.div_ceil(self.round.max(1)).max(1)
    }

    fn round(&self) -> Duration {
        Duration::from_secs(self.round.clamp(1, self.seconds.max(1)))
    }
}
