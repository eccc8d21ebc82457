//! The command-line tool of the ipcd broker: `ipcctl VERB …`.
//!
//! One file per verb in [`verbs`]; each turns its arguments into an [`Exit`] or a [`Problem`](problem::Problem). Floors, each of which
//! imports from those below alone: `cli` parses; `verbs`; what verbs share (`call`, `waiting`, `link`, `host`, `reply`, `progress`, `lines`, `body`); `problem`,
//! `out`, `table`; `format`, `json`, `mcp`, `nearest`, `term`. [`child`] runs the commands that answer calls.
//!
//! Start to exit of `ipcctl send` is what a shell script pays for each call, so nothing happens between exec and connect that
//! the chosen verb does not need: arguments of other verbs are not even built.

#![forbid(unsafe_code)]

mod body;
mod cache;
mod call;
mod child;
mod cli;
mod duration;
mod escape;
mod exit;
mod format;
mod globals;
mod hint;
mod host;
mod input;
mod json;
mod lines;
mod link;
mod lookup;
mod mcp;
mod nearest;
mod number;
mod out;
mod pages;
mod pieces;
mod problem;
mod program;
mod progress;
mod reply;
mod signals;
mod table;
mod term;
mod typed;
mod verbs;
mod waiting;

use crate::{
    cli::Parsed,
    exit::Exit,
    format::{Format, Loudness},
};

fn main() {
    if child::guard::is_wanted() {
        return child::guard::keep();
    }
    if let Some(mark) = child::sentry::wanted() {
        return child::sentry::keep(&mark);
    }
    let (format, loudness, outcome) = match cli::parse(std::env::args_os()) {
        Parsed::Command(cli) => {
            let (format, loudness) = (cli.globals.format, cli.globals.loudness());
            (format, loudness, cli.verb.run(&cli.globals))
        }
        Parsed::Refused(format, loudness, problem) => (format, loudness, Err(problem)),
        Parsed::Text(text) => (Format::Text, Loudness::Normal, out::print(&text).map(|()| Exit::SUCCESS)),
    };
    outcome
        .unwrap_or_else(|problem| {
            problem.report(format, loudness);
            problem.exit()
        })
        .leave()
}
