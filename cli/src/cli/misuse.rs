//! What is wrong with a command line that could not be parsed: one sentence, one hint, in the form that it asked for.

use std::{error::Error as _, ffi::OsString};

use clap::{
    Error,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{
    escape::short,
    format::{Format, Loudness},
    problem::Problem,
};

/// What to tell the user.
pub(super) fn problem(error: &Error, verb: Option<&str>) -> Problem {
    let problem = Problem::usage("", sentence(error));
    let is_option = error.kind() == ErrorKind::UnknownArgument && argument(error).starts_with('-');
    let help = || match verb {
        None if error.kind() == ErrorKind::InvalidSubcommand => {
            "see 'ipcctl --help'; 'ipcctl send NAME' calls a service".to_owned()
        }
        Some("send") if is_option => "an ARG that begins with a dash stands after --".to_owned(),
        Some(verb) => format!("see 'ipcctl {verb} --help'"),
        None => "see 'ipcctl --help'".to_owned(),
    };
    problem.hint(habit(error, verb).map(str::to_owned).or_else(|| suggestion(error)).unwrap_or_else(help))
}

fn sentence(error: &Error) -> String {
    let of = |kind| short(&words(error, kind).join(" ")).into_owned();
    let (argument, value) = (of(ContextKind::InvalidArg), of(ContextKind::InvalidValue));
    match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => "which verb?".to_owned(),
        ErrorKind::InvalidSubcommand => format!("there is no verb '{}'", of(ContextKind::InvalidSubcommand)),
        ErrorKind::UnknownArgument if argument.starts_with('-') => format!("there is no option '{argument}' here"),
        ErrorKind::UnknownArgument => format!("'{argument}' is one argument too many"),
        ErrorKind::MissingRequiredArgument => match words(error, ContextKind::InvalidArg).as_slice() {
            [_, _, ..] => format!("{} are missing", words(error, ContextKind::InvalidArg).join(" and ")),
            _ => format!("{argument} is missing"),
        },
        ErrorKind::InvalidValue if value.is_empty() => format!("'{argument}' needs a value"),
        ErrorKind::InvalidValue => {
            let values = words(error, ContextKind::ValidValue).join(", ");
            format!("'{value}' isn't a valid value of '{argument}', which takes {values}")
        }
        ErrorKind::ValueValidation => {
            let reason = error.source().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("'{value}' isn't a valid value of '{argument}'{reason}")
        }
        ErrorKind::NoEquals => format!("'{argument}' takes its value after ="),
        ErrorKind::ArgumentConflict => {
            let others = words(error, ContextKind::PriorArg).join("', '");
            match others.as_str() {
                others if others == argument => format!("'{argument}' is given twice"),
                others => format!("'{argument}' and '{others}' don't go together"),
            }
        }
        ErrorKind::InvalidUtf8 => "an argument isn't valid UTF-8".to_owned(),
        kind => kind.to_string(), // the kinds are an open set; the others are not among what the verbs ask for
    }
}

/// The nearest that is right.
fn suggestion(error: &Error) -> Option<String> {
    let kinds = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    let nearest = kinds.into_iter().find_map(|kind| words(error, kind).pop())?; // clap puts the nearest last
    Some(format!("did you mean '{nearest}'?"))
}

/// What is right here, for words that are right in other programs and too far from ours for a guess.
fn habit(error: &Error, verb: Option<&str>) -> Option<&'static str> {
    let wrong = argument(error);
    let is_command = !wrong.starts_with('-');
    match (error.kind(), wrong) {
        (ErrorKind::InvalidSubcommand, "call") => Some("'ipcctl send' calls a service"),
        (ErrorKind::UnknownArgument, "--timeout") => Some("-t sets the time, as in -t 5s"),
        (ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument, _) if is_command => match verb {
            Some("serve") => Some("the command stands after --: ipcctl serve NAME -- CMD"),
            Some("lock") => Some("the command stands after --: ipcctl lock NAME -- CMD"),
            _ => None,
        },
        _ => None,
    }
}

/// The word that is wrong.
fn argument(error: &Error) -> &str {
    let kinds = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg];
    kinds.into_iter().find_map(|kind| words(error, kind).into_iter().next()).unwrap_or_default()
}

fn words(error: &Error, kind: ContextKind) -> Vec<&str> {
    match error.get(kind) {
        Some(ContextValue::String(word)) => vec![word],
        Some(ContextValue::Strings(words)) => words.iter().map(String::as_str).collect(),
        _ => vec![],
    }
}

/// The form and the loudness that a command line asks for which could not be parsed: `-o json`, `-q`.
pub(super) fn manner(args: &[OsString]) -> (Format, Loudness) {
    let mut asked = Asked::default();
    let mut args = args.iter().skip(1).map(|arg| arg.to_str().unwrap_or_default()).take_while(|arg| *arg != "--");
    while let Some(arg) = args.next() {
        match arg.strip_prefix("--") {
            Some("quiet") => asked.quiet = true,
            Some("verbose") => asked.verbose = true,
            Some("output") => asked.format = format(args.next()),
            Some(long) if long.starts_with("output=") => asked.format = format(long.strip_prefix("output=")),
            Some(_) => {}
            None => asked.cluster(arg, &mut args),
        }
    }
    // Both together are wrong themselves, and that must be told.
    let loudness = if asked.quiet && !asked.verbose { Loudness::Quiet } else { Loudness::Normal };
    (asked.format.unwrap_or(Format::Text), loudness)
}

#[derive(Default)]
struct Asked {
    format: Option<Format>,
    quiet: bool,
    verbose: bool,
}

impl Asked {
    /// Reads `-q`, `-ojson`, `-qo json` and their like.
    fn cluster<'a>(&mut self, arg: &'a str, rest: &mut impl Iterator<Item = &'a str>) {
        let Some(letters) = arg.strip_prefix('-') else { return };
        for (at, letter) in letters.char_indices() {
            match letter {
                'q' => self.quiet = true,
                'v' => self.verbose = true,
                'n' => {}
                'o' => {
                    let value = letters.get(at + 1..).unwrap_or_default();
                    let value = value.strip_prefix('=').unwrap_or(value);
                    self.format = format(if value.is_empty() { rest.next() } else { Some(value) });
                    return;
                }
                _ => return, // what follows is the value of this option, or no option at all
            }
        }
    }
}

fn format(value: Option<&str>) -> Option<Format> {
    match value {
        Some("json") => Some(Format::Json),
        _ => Some(Format::Text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_of_several_is_suggested() {
        let verbs = ["limits", "list", "wait"].map(clap::Command::new);
        let wrong =
            clap::Command::new("ipcctl").subcommands(verbs).try_get_matches_from(["ipcctl", "limit"]).unwrap_err();
        assert_eq!(suggestion(&wrong).unwrap(), "did you mean 'limits'?");
    }

    fn manner_of(args: &str) -> (Format, Loudness) {
        let args: Vec<OsString> =
            std::iter::once("ipcctl").chain(args.split_whitespace()).map(OsString::from).collect();
        manner(&args)
    }

    #[test]
    fn the_form_that_was_asked_for_is_found_wherever_it_stands() {
        for args in ["-o json sned", "list --nope -ojson", "-o=json", "--output=json", "--output json x", "-nqo json"] {
            assert_eq!(manner_of(args).0, Format::Json, "{args}");
        }
        for args in ["run --nope -- x -o json", "list -o text", "list -o", "send x json"] {
            assert_eq!(manner_of(args).0, Format::Text, "{args}");
        }
    }

    #[test]
    fn quiet_is_found_among_other_letters() {
        for args in ["-q sned", "sned --quiet", "-nq", "-qo json x"] {
            assert_eq!(manner_of(args).1, Loudness::Quiet, "{args}");
        }
        for args in ["sned -- -q", "-s/q sned", "sned", "-q -v", "-qv"] {
            assert_eq!(manner_of(args).1, Loudness::Normal, "{args}");
        }
    }
}
