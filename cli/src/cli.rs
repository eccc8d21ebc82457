//! The command line: which verbs there are, and how it is parsed.

mod misuse;

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, error::ErrorKind};

use crate::{
    exit::Exit,
    format::{Format, Loudness},
    globals::{Globals, Options},
    problem::{Problem, Result},
    verbs::{
        bench, chat, complete, completions, help, help::Topic, limits, list, lock, man, mcp, peers, ping, publish, rpc,
        run, send, serve, show, stats, subscribe, topics, wait,
    },
};

/// Call, offer and watch local services through the broker ipcd.
#[derive(Debug, Parser)]
#[command(name = "ipcctl", version, disable_help_subcommand = true, max_term_width = 100)]
#[command(after_help = "'ipcctl help VERB' explains a verb, 'ipcctl help errors' every error and exit code.\n\n\
    Example:\n  ipcctl run -- sh -c 'ipcctl serve upper -- tr a-z A-Z & ipcctl send -n --wait upper hello'")]
struct Grammar {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    verb: Verb,
}

/// A command line that is in order.
#[derive(Debug)]
pub(crate) struct Cli {
    /// What the options of all verbs say.
    pub(crate) globals: Globals,
    /// What to do.
    pub(crate) verb: Verb,
}

/// What `ipcctl` can do. The arguments of a verb are built only when it is the one that was chosen.
#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
pub(crate) enum Verb {
    /// Call a service, wait, and print its reply
    Send(With<send::Args>),
    /// Answer calls by running a command
    Serve(With<serve::Args>),
    /// Publish an event
    Publish(With<publish::Args>),
    /// Print events, or run a command for each
    Subscribe(With<subscribe::Args>),
    /// Run a command with a broker of its own
    Run(With<run::Args>),
    /// Talk with another terminal
    Chat(With<chat::Args>),
    /// Connect standard input and output to the broker, in JSON-RPC
    Rpc(With<rpc::Args>),
    /// Run a command while holding a lock
    Lock(With<lock::Args>),
    /// Offer services as tools to an agent
    Mcp(With<mcp::Args>),
    /// Wait until a name is offered, or until it is gone
    Wait(With<wait::Args>),
    /// List the names on offer
    List(With<list::Args>),
    /// Show everything about one name
    Show(With<show::Args>),
    /// List the topics whose last event is kept
    Topics(With<topics::Args>),
    /// List the processes that are connected
    Peers(With<peers::Args>),
    /// Print the broker's counters
    Stats(With<stats::Args>),
    /// Print the broker's limits, their use, and the memory they allow
    Limits(With<limits::Args>),
    /// Measure a round trip to the broker
    Ping(With<ping::Args>),
    /// Measure calls through the running broker
    Bench(With<bench::Args>),
    /// Print the script that completes command lines in a shell
    Completions(With<completions::Args>),
    /// Print what may follow on a command line
    #[command(hide = true)]
    Complete(With<complete::Args>),
    /// Print a manual page
    #[command(hide = true)]
    Man(With<man::Args>),
    /// Explain a verb, or list all errors and exit codes
    Help(With<help::Args>),
}

/// A verb with the options that all verbs take. clap's own global options would be copied into every verb at each start, chosen or not.
#[derive(Debug)]
pub(crate) struct With<V>(V);

impl<V: clap::Args> clap::Args for With<V> {
    fn augment_args(command: clap::Command) -> clap::Command {
        Options::augment_args(V::augment_args(command))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Options::augment_args_for_update(V::augment_args_for_update(command))
    }
}

impl<V: FromArgMatches> FromArgMatches for With<V> {
    fn from_arg_matches(matches: &clap::ArgMatches) -> std::result::Result<Self, clap::Error> {
        V::from_arg_matches(matches).map(Self)
    }

    fn from_arg_matches_mut(matches: &mut clap::ArgMatches) -> std::result::Result<Self, clap::Error> {
        V::from_arg_matches_mut(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> std::result::Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// What a command line asks for.
pub(crate) enum Parsed {
    /// A verb to run.
    Command(Box<Cli>),
    /// Help or the version, to be printed on standard output.
    Text(String),
    /// A command line that is wrong, and the manner in which it wants to be told.
    Refused(Format, Loudness, Problem),
}

/// Parses a command line.
pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Parsed {
    let args: Vec<OsString> = args.collect();
    match parse_once(&args) {
        Ok(cli) => match &cli.verb {
            Verb::Help(With(help)) => match help.topic() {
                Topic::Errors => Parsed::Command(Box::new(cli)),
                Topic::All => explain(&args, &["--help"]),
                Topic::Verb(verb) => explain(&args, &[verb, "--help"]),
            },
            _ => Parsed::Command(Box::new(cli)),
        },
        Err(error) => outcome(&args, misuse::manner(&args), &error),
    }
}

fn parse_once(args: &[OsString]) -> std::result::Result<Cli, clap::Error> {
    let mut command = Grammar::command();
    let parsed = command.try_get_matches_from_mut(args).and_then(taken).map_err(|error| error.format(&mut command));
    std::mem::forget(command); // taking the tree apart would be a sixth of what the process does until it connects
    parsed
}

fn taken(mut matches: clap::ArgMatches) -> std::result::Result<Cli, clap::Error> {
    let after = matches.subcommand().map(|(_, matches)| Options::among(matches));
    let Grammar { options, verb } = Grammar::from_arg_matches_mut(&mut matches)?;
    Ok(Cli { globals: after.unwrap_or_default().and(options), verb })
}

/// `help VERB` is `VERB --help`.
fn explain(args: &[OsString], words: &[&str]) -> Parsed {
    let line: Vec<OsString> = std::iter::once("ipcctl").chain(words.iter().copied()).map(OsString::from).collect();
    match parse_once(&line) {
        Ok(cli) => Parsed::Command(Box::new(cli)),
        Err(error) => outcome(&line, misuse::manner(args), &error),
    }
}

fn outcome(args: &[OsString], (format, loudness): (Format, Loudness), error: &clap::Error) -> Parsed {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Parsed::Text(error.render().to_string());
    }
    Parsed::Refused(format, loudness, misuse::problem(error, verb_among(args).as_deref()))
}

/// The verb of a command line that could not be parsed.
fn verb_among(args: &[OsString]) -> Option<String> {
    let command = Grammar::command();
    let mut words = args.iter().skip(1).filter_map(|arg| arg.to_str());
    words.find(|word| command.find_subcommand(word).is_some()).map(str::to_owned)
}

/// The whole command tree with all its arguments, for completions and manual pages.
fn tree() -> clap::Command {
    let mut tree = Grammar::command();
    tree.build();
    tree
}

impl Verb {
    /// Runs the verb.
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        match self {
            Self::Send(With(verb)) => verb.run(globals),
            Self::Serve(With(verb)) => verb.run(globals),
            Self::Publish(With(verb)) => verb.run(globals),
            Self::Subscribe(With(verb)) => verb.run(globals),
            Self::Run(With(verb)) => verb.run(globals),
            Self::Chat(With(verb)) => verb.run(globals),
            Self::Lock(With(verb)) => verb.run(globals),
            Self::Mcp(With(verb)) => verb.run(globals),
            Self::Wait(With(verb)) => verb.run(globals),
            Self::List(With(verb)) => verb.run(globals),
            Self::Show(With(verb)) => verb.run(globals),
            Self::Topics(With(verb)) => verb.run(globals),
            Self::Peers(With(verb)) => verb.run(globals),
            Self::Stats(With(verb)) => verb.run(globals),
            Self::Limits(With(verb)) => verb.run(globals),
            Self::Ping(With(verb)) => verb.run(globals),
            Self::Rpc(With(verb)) => verb.run(globals),
            Self::Bench(With(verb)) => verb.run(globals),
            Self::Completions(With(verb)) => verb.run(),
            Self::Complete(With(verb)) => verb.run(globals, &tree()),
            Self::Man(With(verb)) => verb.run(&tree()),
            Self::Help(With(verb)) => verb.run(globals),
        }
    }
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
            Parsed::Refused(.., problem) => panic!("{args}: {problem:?}"),
        }
    }

    fn refused(args: &str) -> String {
        match line(args) {
            Parsed::Refused(.., problem) if problem.exit() == Exit::Code(2) => format!("{problem:?}"),
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
        assert!(refused("lock l echo hi").contains("lock NAME -- CMD"));
    }

    #[test]
    fn a_number_that_is_none_is_told_the_range() {
        assert!(refused("serve upper --jobs 0 -- cat").contains("from 1 to 4096"));
        assert!(refused("serve upper --jobs 65536 -- cat").contains("from 1 to 4096"));
        assert!(refused("lock l --shared 0 -- cat").contains("a number from 1 to "));
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
    fn the_help_of_a_verb_is_one_text_however_it_is_asked_for() {
        for verb in tree().get_subcommands().map(clap::Command::get_name) {
            assert_eq!(help(&format!("help {verb}")), help(&format!("{verb} --help")));
        }
        assert_eq!(help("help"), help("--help"));
    }

    /// Up to where a shell would take over: a pipe, a redirection, a comment.
    #[test]
    fn the_examples_of_each_verb_are_accepted() {
        let help = |verb: &str| help(&format!("{verb} --help"));
        let helps: String = tree().get_subcommands().map(clap::Command::get_name).map(help).collect();
        let examples = helps.lines().filter_map(|text| text.strip_prefix("  ipcctl "));
        let commands: Vec<_> = examples.filter_map(|text| text.split(['|', '<', '>', '#', '&']).next()).collect();
        assert!(commands.len() > 20, "{commands:?}");
        let refused = commands.into_iter().filter(|command| matches!(line(command), Parsed::Refused(..)));
        assert_eq!(refused.collect::<Vec<_>>(), Vec::<&str>::new());
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
