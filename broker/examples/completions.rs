//! Prints the completions of `ipcd` for a shell: `cargo run -p ipcd --example completions -- bash`. An example, so that the daemon
//! itself carries nothing that only a package needs.
#![forbid(unsafe_code)]

use std::io;

use clap::{CommandFactory, Parser};

#[path = "../src/arguments.rs"]
mod arguments;

#[derive(Parser)]
struct Options {
    /// Which shell
    shell: clap_complete::Shell,
}

fn main() {
    let Options { shell } = Options::parse();
    clap_complete::generate(shell, &mut arguments::Arguments::command(), "ipcd", &mut io::stdout());
}
