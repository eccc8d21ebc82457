//! The command line: which verbs there are, how it is parsed, and how a wrong one is reported.

use std::ffi::OsString;

use clap::{
    CommandFactory, FromArgMatches, Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};
use ipc_client::ErrorCode;

use crate::{
    exit::Exit,
    format::Format,
    globals::Globals,
    problem::{Problem, Result},
    verbs::{bench, completions, help, limits, list, man, peers, ping, run, send, serve, show, stats, wait},
};

/// Call, offer and watch local services through the broker ipcd.
#[derive(Debug, Parser)]
#[command(name = "ipcctl", version, disable_help_subcommand = true, max_term_width = 100)]
#[command(after_help = "'ipcctl help VERB' explains a verb, 'ipcctl help errors' every error and exit code.\n\n\
    Example:\n  ipcctl run -- sh -c 'ipcctl serve upper -- tr a-z A-Z & ipcctl send --wait upper hello'")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

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

/// What a command line asks for.
pub(crate) enum Parsed {
    /// A verb to run.
    Command(Box<Cli>),
    /// Help or the version, to be printed on standard output.
    Text(String),
    /// Nothing that can be done.
    Refused(Format, Problem),
}

/// Parses a command line.
pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Parsed {
    let args: Vec<OsString> = args.collect();
    let mut command = Cli::command();
    let parsed =
        command.try_get_matches_from_mut(&args).and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches));
    let parsed = parsed.map_err(|error| error.format(&mut command));
    std::mem::forget(command); // taking the tree apart would be a sixth of what the process does until it connects
    match parsed {
        Ok(cli) => Parsed::Command(Box::new(cli)),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Parsed::Text(error.render().to_string()),
            _ => Parsed::Refused(format_wanted(&args), refusal(&error)),
        },
    }
}

/// The whole command tree with all its arguments, for completions and manual pages.
fn tree() -> clap::Command {
    let mut tree = Cli::command();
    tree.build();
    tree
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
            Self::Completions(verb) => verb.run(tree()),
            Self::Man(verb) => verb.run(tree()),
            Self::Help(verb) => verb.run(globals, tree()),
        }
    }
}

/// clap says what is wrong in a paragraph, gives tips in further ones, and ends with the usage. Of that the error line keeps the
/// paragraph and the first tip.
fn refusal(error: &clap::Error) -> Problem {
    if matches!(error.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand) {
        return Problem::usage("", "which verb?").hint("see 'ipcctl --help'");
    }
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let sentence = one_line(first.strip_prefix("error: ").unwrap_or(first));
    let tip = paragraphs.find_map(|paragraph| paragraph.trim_start().strip_prefix("tip: ").map(one_line));
    let problem = Problem::new(ErrorCode::USAGE, "", sentence);
    let known = known_elsewhere(error, &text).map(str::to_owned);
    problem.hint(known.or(tip).unwrap_or_else(|| "see --help".to_owned()))
}

/// What is right here, for words that are right in other programs and too far from ours for clap's guess.
fn known_elsewhere(error: &clap::Error, text: &str) -> Option<&'static str> {
    let wrong = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg].into_iter().find_map(|kind| error.get(kind));
    match (error.kind(), wrong) {
        (ErrorKind::InvalidSubcommand, Some(ContextValue::String(word))) if word == "call" => {
            Some("'ipcctl send' calls a service")
        }
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) if word == "--timeout" => {
            Some("-t sets the time, as in -t 5s")
        }
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) if !word.starts_with('-') => after_dashes(text),
        (ErrorKind::MissingRequiredArgument, _) => after_dashes(text),
        _ => None,
    }
}

fn after_dashes(text: &str) -> Option<&'static str> {
    text.contains("Usage: ipcctl serve").then_some("the command stands after --: ipcctl serve NAME -- CMD")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The form of the error line about a command line that could not be parsed: whoever wrote `-o json` reads JSON.
fn format_wanted(args: &[OsString]) -> Format {
    let before_command = args.iter().take_while(|arg| *arg != "--");
    let texts: Vec<&str> = before_command.map(|arg| arg.to_str().unwrap_or_default()).collect();
    let joined = texts.iter().any(|arg| matches!(*arg, "-ojson" | "-o=json" | "--output=json"));
    let apart = texts.windows(2).any(|pair| matches!(pair, ["-o" | "--output", "json"]));
    if joined || apart { Format::Json } else { Format::Text }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line(args: &str) -> Parsed {
        parse(std::iter::once("ipcctl").chain(args.split_whitespace()).map(OsString::from))
    }

    fn cli(args: &str) -> Cli {
        match line(args) {
            Parsed::Command(cli) => *cli,
            Parsed::Text(text) => panic!("{args}: {text}"),
            Parsed::Refused(_, problem) => panic!("{args}: {problem:?}"),
        }
    }

    fn refused(args: &str) -> String {
        match line(args) {
            Parsed::Refused(_, problem) if problem.exit() == Exit::Code(2) => format!("{problem:?}"),
            _ => panic!("{args} is accepted"),
        }
    }

    fn help(args: &str) -> String {
        match line(args) {
            Parsed::Text(text) => text,
            _ => panic!("{args} gives no help"),
        }
    }

    #[test]
    fn the_command_tree_is_sound() {
        tree().debug_assert();
    }

    #[test]
    fn common_options_stand_before_and_after_the_verb() {
        for args in ["-t 5s -s /x -o json list", "list -t 5s -s /x -o json"] {
            let globals = cli(args).globals;
            assert_eq!((globals.time, globals.format), (Some(Duration::from_secs(5)), Format::Json), "{args}");
            assert_eq!(globals.socket.as_deref(), Some("/x".as_ref()), "{args}");
        }
    }

    #[test]
    fn a_wrong_option_names_the_nearest_right_one() {
        assert!(refused("send --onewya upper").contains("'--oneway'"));
        assert!(refused("sned upper").contains("'send'"));
        assert!(refused("serve upper --job 3 -- tr").contains("'--jobs'"));
    }

    #[test]
    fn a_habit_from_another_program_is_told_what_is_right_here() {
        assert!(refused("call upper x").contains("'ipcctl send'"));
        assert!(refused("send --timeout 5s upper x").contains("-t 5s"));
        assert!(refused("serve upper cat").contains("NAME -- CMD"));
        assert!(refused("serve upper").contains("NAME -- CMD"));
    }

    #[test]
    fn a_number_of_jobs_that_is_none_is_told_the_range() {
        assert!(refused("serve upper --jobs 0 -- cat").contains("from 1 to 65535"));
        assert!(refused("serve upper --jobs 65536 -- cat").contains("from 1 to 65535"));
    }

    #[test]
    fn a_duration_without_a_unit_is_refused() {
        assert!(refused("-t 5 list").contains("200ms"));
        assert!(refused("-t 0 list").contains("200ms"));
        assert!(refused("send --wait=5 a").contains("200ms"));
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        assert!(refused("send Upper x").contains("a-z"));
        assert!(refused("send a..b x").contains("label"));
        assert!(refused("serve UP -- cat").contains("a-z"));
    }

    #[test]
    fn a_bare_command_asks_for_a_verb() {
        assert!(refused("").contains("which verb"));
    }

    #[test]
    fn the_error_line_has_the_form_that_was_asked_for() {
        let format = |args: &str| match line(args) {
            Parsed::Refused(format, _) => format,
            _ => panic!("{args} is accepted"),
        };
        assert_eq!(format("-o json sned"), Format::Json);
        assert_eq!(format("list --nope -ojson"), Format::Json);
        assert_eq!(format("run --nope -- x -o json"), Format::Text);
    }

    #[test]
    fn the_help_of_each_verb_ends_with_an_example() {
        for verb in tree().get_subcommands().map(clap::Command::get_name) {
            let text = help(&format!("{verb} --help"));
            let example = text.rfind("Example").unwrap_or_else(|| panic!("{verb}: no example in\n{text}"));
            assert!(
                text.rfind("Common options").is_some_and(|options| options < example),
                "{verb}: the example is not last"
            );
            assert!(text[example..].contains(&format!("ipcctl {verb}")), "{verb}: {}", &text[example..]);
        }
    }

    #[test]
    fn the_top_level_help_fits_a_screen() {
        let text = help("--help");
        assert!(text.lines().count() <= 48, "{} lines:\n{text}", text.lines().count());
    }
}
