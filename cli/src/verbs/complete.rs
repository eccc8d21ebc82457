//! `ipcctl complete`: what may stand at the end of a command line, for the scripts that `ipcctl completions` prints.
//!
//! Verbs, options and values come from the command line's own grammar, names of services and topics from the broker that runs. Where the shell
//! itself knows better the answer is `:commands`, or `:files` and what stands before the name of the file.

use std::{ffi::OsString, time::Duration};

use clap::{Arg, Command};
use ipc_client::{ServiceName, Type, control};
use serde::Serialize;

use crate::{
    exit::Exit,
    globals::Globals,
    lookup, out,
    pages::{self, Page},
    problem::Result,
    typed,
};

/// Print what may follow, a word a line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ipcctl complete -- send up")]
pub(crate) struct Args {
    /// The words of the command line after 'ipcctl'; the last is the one to be completed
    #[arg(last = true)]
    words: Vec<OsString>,
}

/// What may stand at the end of a line.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// One of these words.
    Words(Vec<String>),
    /// The name of a service that is offered.
    Name,
    /// A service, or one of its methods.
    Target,
    /// A service, one of its methods or of its events.
    Shown,
    /// A topic whose last event is kept, the only ones that the broker knows, or of which the service says so that it begins with.
    Topic,
    /// A field of what this is asked, but none of those.
    Field(String, Vec<String>),
    /// A command of the system.
    Command,
    /// A file, after this.
    File(String),
}

impl Args {
    pub(crate) fn run(self, globals: &Globals, tree: &Command) -> Result<Exit> {
        let words: Vec<String> = self.words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let (last, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
        let text = match next(tree, before, last) {
            Next::Words(words) => lines(words, last),
            Next::Name => lines(names(globals), last),
            Next::Target => lines(members(globals, last, names(globals), &[Kind::Method]), last),
            Next::Shown => lines(members(globals, last, names(globals), &[Kind::Method, Kind::Event]), last),
            Next::Topic => lines(members(globals, last, topics(globals), &[Kind::Event]), last),
            Next::Field(target, given) => lines(fields(globals, &target, &given), last),
            Next::Command => ":commands\n".to_owned(),
            Next::File(prefix) => format!(":files{prefix}\n"),
        };
        out::print(&text)?;
        Ok(Exit::SUCCESS)
    }
}

fn lines(words: impl IntoIterator<Item = String>, last: &str) -> String {
    words.into_iter().filter(|word| word.starts_with(last) && is_harmless(word)).map(|word| word + "\n").collect()
}

/// Whether a shell takes the word as it stands. It is put on the command line unquoted, and a service may have chosen it.
fn is_harmless(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:=@".contains(&byte))
}

/// Whether it can be typed before a value: another one is no member of a body on the command line.
fn is_key(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// Whether it stands where a name does: one that begins as options do is taken for an option.
fn is_name(word: &str) -> bool {
    !word.starts_with('-')
}

/// The names on offer; none if there is no broker.
fn names(globals: &Globals) -> Vec<String> {
    let question = |after| control::List { pattern: None, after };
    let names = known::<control::Names, _>(globals, "list", question, ToString::to_string);
    names.into_iter().filter(|name| is_name(name)).collect()
}

/// The topics whose last event is kept.
fn topics(globals: &Globals) -> Vec<String> {
    let question = |after| control::Topics { pattern: None, after };
    let topics = known::<control::TopicPage, _>(globals, "topics", question, |row| row.topic.to_string());
    topics.into_iter().filter(|topic| is_name(topic)).collect()
}

/// What a service has that is named by it and a label of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Method,
    Event,
}

/// Names that the broker knows, and what a service has: one that the word begins with, or the only one that the word may become.
fn members(globals: &Globals, word: &str, mut names: Vec<String>, kinds: &[Kind]) -> Vec<String> {
    let mut fit = names.iter().filter(|name| name.starts_with(word));
    let only = fit.next().cloned().filter(|_| fit.next().is_none());
    let begun = word.rsplit_once('.').map(|(service, _)| service.to_owned());
    let services: Vec<ServiceName> = begun.into_iter().chain(only).filter_map(|name| name.parse().ok()).collect();
    if services.is_empty() {
        return names;
    }
    let Ok(client) = globals.with_time(lookup::ASIDE).client("complete", word) else { return names };
    for service in services {
        let found = lookup::find_with(&client, &service, lookup::ASIDE).ok().filter(|found| found.method.is_none());
        let Some(found) = found else { continue };
        let description = lookup::describe(&client, &found, lookup::ASIDE).ok().flatten().unwrap_or_default();
        if kinds.contains(&Kind::Method) {
            let methods = found.shown.methods.iter().chain(description.methods.keys());
            let named = methods.filter(|method| !method.as_str().is_empty());
            names.extend(named.map(|method| format!("{service}.{method}")));
        }
        if kinds.contains(&Kind::Event) {
            names.extend(description.events.into_keys());
        }
    }
    names.sort();
    names.dedup();
    names
}

/// The fields of a method, as they are written before their values.
fn fields(globals: &Globals, target: &str, given: &[String]) -> Vec<String> {
    let known = || {
        let client = globals.with_time(lookup::ASIDE).client("complete", target).ok()?;
        let found = lookup::find_with(&client, &target.parse().ok()?, lookup::ASIDE).ok()?;
        lookup::method(&client, &found, lookup::ASIDE).ok()?
    };
    let request = known().and_then(|method| method.request);
    let fields =
        request.iter().flat_map(Type::named_fields).filter(|field| is_key(&field.name) && !given.contains(&field.name));
    fields.map(typed::assigned).collect()
}

/// What the broker knows. A user who has pressed a key waits for this, so it mustn't take long.
fn known<P: Page, Q: Serialize>(
    globals: &Globals,
    operation: &str,
    question: impl Fn(Option<P::Place>) -> Q,
    word: impl Fn(&P::Row) -> String,
) -> Vec<String> {
    let mut known = Vec::new();
    let globals = globals.with_time(Duration::from_millis(300));
    let Ok(link) = globals.connect("complete") else { return known };
    // What has come before an error is offered.
    let _ = pages::each::<P, Q>(&link, operation, question, |rows| {
        known.extend(rows.iter().map(&word));
        Ok(known.len() < MOST)
    });
    known
}

/// More than anyone reads.
const MOST: usize = 1_000;

fn next(tree: &Command, before: &[String], last: &str) -> Next {
    let verb = before.iter().find_map(|word| tree.find_subcommand(word));
    let command = verb.unwrap_or(tree);
    if let Some(at) = before.iter().position(|word| word == "--") {
        let is_command = matches!(command.get_name(), "serve" | "run" | "lock") && at + 1 == before.len();
        return if is_command { Next::Command } else { Next::File(String::new()) };
    }
    if let Some(at) = before.iter().position(|word| word == "--exec") {
        return if at + 1 == before.len() { Next::Command } else { Next::File(String::new()) };
    }
    if let Some(option) = before.last().and_then(|word| awaiting(command, tree, word)) {
        return value_of(option, "");
    }
    if let Some((name, _)) = last.split_once('=').filter(|_| last.starts_with("--")) {
        return awaiting(command, tree, name)
            .map_or(Next::Words(vec![]), |option| value_of(option, &format!("{name}=")));
    }
    if last.starts_with('-') && last != "-" {
        return Next::Words(options(command));
    }
    let Some(verb) = verb else { return Next::Words(verbs(tree)) };
    let after_verb: Vec<&String> = before.iter().skip_while(|word| *word != verb.get_name()).skip(1).collect();
    let is_value = |at: usize| at > 0 && awaiting(verb, tree, after_verb[at - 1]).is_some();
    let places = after_verb.iter().enumerate().filter(|(at, word)| !word.starts_with('-') && !is_value(*at));
    let given: Vec<String> = places.map(|(_, word)| (*word).clone()).collect();
    positional(verb, tree, &given, last)
}

/// The option that takes the word after it as its value.
fn awaiting<'a>(command: &'a Command, tree: &'a Command, word: &str) -> Option<&'a Arg> {
    let mut all = command.get_arguments().chain(tree.get_arguments());
    let option = match word.strip_prefix("--") {
        Some(long) => all.find(|arg| arg.get_long() == Some(long)),
        None => {
            let letter = word.strip_prefix('-').and_then(|letters| letters.chars().next_back());
            all.find(|arg| letter.is_some() && arg.get_short() == letter)
        }
    };
    option.filter(|arg| arg.get_action().takes_values() && (word.contains('=') || !arg.is_require_equals_set()))
}

fn value_of(option: &Arg, prefix: &str) -> Next {
    let values: Vec<String> =
        option.get_possible_values().iter().map(|value| format!("{prefix}{}", value.get_name())).collect();
    match (values.is_empty(), option.get_long()) {
        (false, _) => Next::Words(values),
        (true, Some("socket" | "config")) => Next::File(prefix.to_owned()),
        (true, _) => Next::Words(values),
    }
}

fn options(command: &Command) -> Vec<String> {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_positional());
    shown
        .filter_map(|arg| {
            arg.get_long().map(|long| format!("--{long}")).or(arg.get_short().map(|short| format!("-{short}")))
        })
        .collect()
}

fn verbs(tree: &Command) -> Vec<String> {
    tree.get_subcommands().filter(|verb| !verb.is_hide_set()).map(|verb| verb.get_name().to_owned()).collect()
}

/// What may stand behind the words of a verb that are given, without options.
fn positional(verb: &Command, tree: &Command, given: &[String], last: &str) -> Next {
    match (verb.get_name(), given.len()) {
        ("send", 0) => Next::Target,
        ("show", 0) => Next::Shown,
        ("list" | "chat", 0) | ("wait" | "mcp", _) => Next::Name,
        ("publish" | "topics", 0) | ("subscribe", _) => Next::Topic,
        ("send" | "publish", _) => match last.split_once('@') {
            Some((key, _)) => Next::File(format!("{key}@")),
            None => match given.split_first().filter(|_| verb.get_name() == "send" && !last.contains('=')) {
                Some((target, given)) => Next::Field(target.clone(), given.iter().map(|word| key(word)).collect()),
                None => Next::Words(vec![]),
            },
        },
        ("run", 0) => Next::Command,
        ("help", 0) => Next::Words(verbs(tree).into_iter().chain(["errors".to_owned()]).collect()),
        ("man", 0) => Next::Words(verbs(tree)),
        ("completions", 0) => {
            let shells = verb.get_positionals().next().map(Arg::get_possible_values).unwrap_or_default();
            Next::Words(shells.iter().map(|shell| shell.get_name().to_owned()).collect())
        }
        _ => Next::Words(vec![]),
    }
}

/// What stands before the value of a field.
fn key(word: &str) -> String {
    word.split([':', '=', '@']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command line like that of ipcctl, with the word to be completed at its end.
    fn at_end(line: &str) -> Next {
        let send = Command::new("send")
            .args([Arg::new("target"), Arg::new("args").num_args(0..)])
            .arg(Arg::new("wait").long("wait").require_equals(true).num_args(0..=1))
            .arg(Arg::new("time").short('t'))
            .arg(Arg::new("format").short('o').long("output").value_parser(["text", "json"]))
            .arg(Arg::new("socket").short('s').long("socket"));
        let serve = Command::new("serve").arg(Arg::new("name"));
        let mut tree = Command::new("ipcctl").disable_help_subcommand(true).subcommands([
            send,
            serve,
            Command::new("subscribe"),
            Command::new("wait"),
            Command::new("help"),
        ]);
        tree.build();
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (last, before) = words.split_last().unwrap();
        next(&tree, before, last)
    }

    fn words(line: &str) -> Vec<String> {
        match at_end(line) {
            Next::Words(words) => words,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_word_that_a_shell_would_run_is_not_offered() {
        let words =
            ["calc.add", "$(id)", "`id`", "a b", "a;b", "a*", "~", "\u{1b}[2J", "a\nb", "--output=json", "key:="];
        let offered = lines(words.map(str::to_owned), "");
        assert_eq!(offered, "calc.add\n--output=json\nkey:=\n");
    }

    #[test]
    fn a_field_is_offered_if_it_can_be_typed() {
        let typed = ["a", "_a-1", "Az", "", "1a", "-a", "a.b", "a=b", "\u{e9}"].map(is_key);
        assert_eq!(typed, [true, true, true, false, false, false, false, false, false]);
    }

    #[test]
    fn a_verb_comes_first_and_is_what_help_explains() {
        assert_eq!(words("se"), ["send", "serve", "subscribe", "wait", "help"]);
        assert_eq!(words("help "), ["send", "serve", "subscribe", "wait", "help", "errors"]);
    }

    #[test]
    fn names_stand_where_services_do() {
        for line in ["wait ", "wait a b"] {
            assert_eq!(at_end(line), Next::Name, "{line}");
        }
        for line in ["send up", "send -t 5s up", "send --wait up", "send -o json --wait=5s up"] {
            assert_eq!(at_end(line), Next::Target, "{line}");
        }
    }

    #[test]
    fn topics_stand_where_subscribers_name_them() {
        assert_eq!(at_end("subscribe "), Next::Topic);
        assert_eq!(at_end("subscribe news. al"), Next::Topic);
        assert_eq!(at_end("subscribe news. --exec no"), Next::Command);
        assert_eq!(at_end("subscribe news. --exec notify-send fi"), Next::File(String::new()));
    }

    #[test]
    fn files_follow_an_at_sign_and_options_that_take_one() {
        assert_eq!(at_end("send store @ph"), Next::File("@".into()));
        assert_eq!(at_end("send store name@ph"), Next::File("name@".into()));
        assert_eq!(at_end("send -s /run"), Next::File(String::new()));
        assert_eq!(at_end("send --socket=/run"), Next::File("--socket=".into()));
        assert_eq!(words("send store name=ph"), [""; 0]);
    }

    #[test]
    fn fields_follow_the_target_of_a_call() {
        let field = |given: &[&str]| Next::Field("calc.add".into(), given.iter().map(ToString::to_string).collect());
        assert_eq!(at_end("send calc.add "), field(&[]));
        assert_eq!(at_end("send -t 5s calc.add a:=1 b"), field(&["a"]));
    }

    #[test]
    fn a_command_follows_the_dashes_and_files_follow_it() {
        assert_eq!(at_end("serve upper -- t"), Next::Command);
        assert_eq!(at_end("serve upper -- tr a"), Next::File(String::new()));
    }

    #[test]
    fn options_and_their_values_are_known() {
        assert!(words("send --").contains(&"--output".to_owned()));
        assert_eq!(words("send -o "), ["text", "json"]);
        assert_eq!(words("send --output=j"), ["--output=text", "--output=json"]);
    }
}
