//! The command line: what is common to all verbs, and how a wrong one is reported.

use std::{ffi::OsString, time::Duration};

use clap::{
    CommandFactory, FromArgMatches, Parser, ValueEnum,
    error::{ContextKind, ContextValue, ErrorKind},
};
use ipc_client::ErrorCode;

use crate::{duration, exit::Exit, problem::Problem, verbs::Verb};

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

/// Options that each verb takes, before it or after it.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Globals {
    /// The broker's socket: a path, @NAME (abstract) or fd:N [default: $IPCD_SOCKET, else ipcd/ipcd.sock below
    /// $XDG_RUNTIME_DIR or /run]
    #[arg(short, long, global = true, value_name = "ADDR")]
    pub(crate) socket: Option<OsString>,

    /// How long to wait for an answer, with a unit: 200ms, 5s, 1m; the broker cuts it to 1h [default: 30s]
    #[arg(short = 't', global = true, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) time: Option<Duration>,

    /// Form of output and of error lines: text, or one JSON document a line
    #[arg(short = 'o', long = "output", global = true, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    #[arg(hide_default_value = true, hide_possible_values = true)]
    pub(crate) format: Format,

    /// Print no error line: the exit code says it all
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,

    /// Say on standard error what is being done
    #[arg(short, long, global = true)]
    verbose: bool,
}

/// Form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people, and for shell tools that read lines and columns.
    Text,
    /// One JSON document a line.
    Json,
}

/// How much is said on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loudness {
    /// Nothing.
    Quiet,
    /// One line when something goes wrong.
    Normal,
    /// What is being done, too.
    Verbose,
}

impl Globals {
    /// How much is said on standard error.
    pub(crate) fn loudness(&self) -> Loudness {
        match (self.quiet, self.verbose) {
            (true, _) => Loudness::Quiet,
            (false, true) => Loudness::Verbose,
            (false, false) => Loudness::Normal,
        }
    }

    /// Says something on standard error if that was asked for.
    pub(crate) fn say(&self, text: impl FnOnce() -> String) {
        if self.loudness() == Loudness::Verbose {
            let line = format!("ipcctl: {}\n", crate::escape::line(&text()));
            let _ = crate::stdout::write_all(std::io::stderr(), line.as_bytes()); // nobody is left to tell
        }
    }
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
pub(crate) fn tree() -> clap::Command {
    let mut tree = Cli::command();
    tree.build();
    tree
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
    let problem = Problem::new(ErrorCode::USAGE, "", sentence).exits(Exit::Code(2));
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
