//! The tour of README.md does what its comments say when it is pasted into a new shell.

use std::path::PathBuf;

use ipc_tests::{command::Command, proc};

use crate::{markdown, read, root};

/// A command of the tour, and the lines that it prints, in which `…` stands for any text.
#[derive(Debug, PartialEq)]
struct Step {
    command: String,
    prints: Vec<String>,
}

#[test]
fn the_tour_prints_what_it_promises() {
    let steps = steps(&tour());
    assert!(steps.len() > 15, "{steps:#?}");
    // The shell reads its script from standard input, as from a terminal, so a command that reads there would swallow the tour.
    let shell = Command::new("bash", ["--norc"]).input(script(&steps)).run();
    assert_eq!(shell.code, 0, "{}\n{}", shell.stdout(), shell.stderr);
    let told = shell.stdout();
    let printed: Vec<_> = told.split(MARK).skip(1).map(|text| text.trim_start_matches('\n')).collect();
    assert_eq!(printed.len(), steps.len() + 1, "the shell did not reach the end: {told}");
    let broken: Vec<_> = steps.iter().zip(printed).filter(|(step, printed)| !step.agrees(printed)).collect();
    assert!(broken.is_empty(), "{broken:#?}\n{}", shell.stderr);
}

#[test]
fn the_tour_leaves_nothing_behind() {
    let shell = Command::new("bash", ["--norc"]).input(script(&steps(&tour()))).start();
    let socket = PathBuf::from(format!("/tmp/tour-{}.sock", shell.pid()));
    shell.finish();
    let left = proc::whose_environment_names(&socket);
    assert!(left.is_empty(), "processes {left:?} still run");
    assert!(!socket.exists(), "{} is still there", socket.display());
    assert!(!socket.with_extension("sock.lock").exists(), "the lock file is still there");
}

#[test]
fn every_command_that_the_readme_names_is_a_verb() {
    let readme = read(&root().join("README.md"));
    let (_, blocks) = markdown::split(&readme);
    let code = markdown::code(&readme).join("\n") + &blocks.iter().map(|block| &*block.text).collect::<String>();
    let help = Command::ipcctl(["--help"]).prints_text();
    let verbs: Vec<_> =
        help.lines().filter_map(|line| line.strip_prefix("  ")?.split_once("  ")).map(|row| row.0).collect();
    let named = code.match_indices("ipcctl ").map(|(at, word)| code[at + word.len()..].split_whitespace());
    let named = named.filter_map(|mut words| words.find(|word| !is_option(word))).map(first_word);
    let unknown: Vec<_> = named.filter(|verb| !verb.is_empty() && *verb != "VERB" && !verbs.contains(verb)).collect();
    assert!(unknown.is_empty(), "README.md calls {unknown:?}, which are not among {verbs:?}");
}

/// The commands in the shell blocks of section "A tour".
fn tour() -> String {
    let readme = read(&root().join("README.md"));
    let section = readme.split("\n## ").find(|section| section.starts_with("A tour\n")).expect("README.md has a tour");
    let blocks = markdown::split(section).1.into_iter().filter(|block| block.language == "sh");
    blocks.map(|block| block.text).collect()
}

fn steps(tour: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in tour.lines() {
        match line.strip_prefix("#=> ") {
            Some(promise) => steps.last_mut().expect("a command comes first").prints.push(promise.to_owned()),
            None => steps.push(Step { command: line.to_owned(), prints: Vec::new() }),
        }
    }
    steps
}

/// The commands, with a mark on standard output before each and one at the end. Standard error counts as output.
fn script(steps: &[Step]) -> String {
    let marked = steps.iter().map(|step| format!("echo {MARK}\n{}\n", step.command));
    format!("exec 2>&1\n{}echo {MARK}\n", marked.collect::<String>())
}

impl Step {
    /// A command without a promise prints nothing. One whose promise begins with `…` may print more lines than it shows.
    fn agrees(&self, printed: &str) -> bool {
        match self.prints.as_slice() {
            [any] if any == "…" => !printed.is_empty(),
            promised => {
                let lines: Vec<_> = printed.lines().collect();
                lines.len() == promised.len()
                    && promised.iter().zip(lines).all(|(promise, line)| matches(promise, line))
            }
        }
    }
}

/// Whether a line has the parts of the promise, in order.
fn matches(promise: &str, line: &str) -> bool {
    let mut parts = promise.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || promise.ends_with('…')
}

fn is_option(word: &str) -> bool {
    // `-o json` and `-t 200ms` have a value each, so `json` and durations are skipped too.
    word.starts_with('-') || word == "json" || word.starts_with(|c: char| c.is_ascii_digit())
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default()
}

const MARK: &str = "@@@";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_compared_part_by_part() {
        assert!(matches("HELLO", "HELLO"));
        assert!(!matches("HELLO", "HELLO "));
        assert!(matches("…no_service…has not run…", "ipcctl: x: no_service: none (it has not run)"));
        assert!(!matches("…has not run…no_service…", "ipcctl: x: no_service: none (it has not run)"));
    }

    #[test]
    fn a_command_that_promises_nothing_prints_nothing() {
        let step = Step { command: String::new(), prints: vec![] };
        assert!(step.agrees(""));
        assert!(!step.agrees("unavailable\n"));
    }
}
