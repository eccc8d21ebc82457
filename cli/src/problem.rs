//! What goes wrong: one line on standard error, and an exit code.

use std::io;

use ipc_client::{Error, ErrorCode, Response, Retry};
use serde::Serialize;

use crate::{
    escape,
    exit::Exit,
    format::{Format, Loudness},
    hint, json, term,
};

/// A failure as the user sees it: `ipcctl: SUBJECT: NAME: sentence (hint)`.
#[derive(Debug)]
pub(crate) struct Problem(Box<Inner>); // boxed: each Result in this crate carries one, and most of them are Ok

/// Result of what can end in a [`Problem`].
pub(crate) type Result<T> = std::result::Result<T, Problem>;

#[derive(Debug, PartialEq)]
struct Inner {
    subject: String,
    name: String,
    code: Option<ErrorCode>,
    exit: Exit,
    retry: Retry,
    message: String,
    hint: String,
    app_code: u32,
    body: Option<Response>,
    is_silent: bool,
}

impl Problem {
    /// A row of the error table, found by `ipcctl` itself.
    pub(crate) fn new(code: ErrorCode, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::from_error(subject, &Error::new(code, message))
    }

    /// What a call ended with. `subject` is what was called.
    pub(crate) fn from_error(subject: impl Into<String>, error: &Error) -> Self {
        let (subject, body) = (subject.into(), error.body());
        Self(Box::new(Inner {
            name: error.code().to_string(),
            code: Some(error.code()),
            exit: Exit::Code(error.code().exit()),
            retry: error.retry(),
            message: error.text().to_owned(),
            hint: hint::of(&subject, error),
            subject,
            app_code: error.app_code(),
            body: (!body.body.is_empty()).then(|| body.clone()),
            is_silent: false,
        }))
    }

    /// The command line is wrong.
    pub(crate) fn usage(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::USAGE, subject, message)
    }

    /// Something that concerns `ipcctl` alone and stands in no table of the protocol; `name` is not a name of that table.
    pub(crate) fn own(name: &str, exit: u8, subject: impl Into<String>, message: impl Into<String>) -> Self {
        let mut problem = Self::new(ErrorCode::USAGE, subject, message);
        let inner = &mut *problem.0;
        (inner.name, inner.code, inner.exit, inner.hint) = (name.to_owned(), None, Exit::Code(exit), String::new());
        problem
    }

    /// Standard output cannot take what it was to take.
    ///
    /// A reader that has gone (`ipcctl list | head -1`) is no news: nothing is printed. Anything else, a full disk say, loses an
    /// answer that was there: that is what 74 means for `service_gone` and `broker_lost`, and what `EX_IOERR` is (sysexits.h).
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            let mut problem = Self::own("output", 0, "stdout", "its reader has gone");
            (problem.0.exit, problem.0.is_silent) = (Exit::BROKEN_PIPE, true);
            return problem;
        }
        let mut problem =
            Self::own("output", 74, "stdout", format!("cannot write: {error}")).hint("whatever was called has run");
        problem.0.retry = Retry::Unknown;
        problem
    }

    /// The host refuses what `ipcctl` itself needs: exit 125, as timeout(1) and env(1) have it.
    pub(crate) fn host(subject: impl Into<String>, operation: &str, error: &io::Error) -> Self {
        Self::own("failed", 125, subject, format!("{operation}: {error}"))
    }

    /// Replaces the hint.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = hint.into();
        self
    }

    /// Replaces the exit.
    pub(crate) fn exits(mut self, exit: Exit) -> Self {
        self.0.exit = exit;
        self
    }

    /// Says in which line of the input the call was.
    pub(crate) fn at_line(mut self, line: u64) -> Self {
        self.0.message = format!("line {line}: {}", self.0.message);
        self
    }

    /// With `--propagate`: the application's own code is the exit code, if it is one that no other error has.
    pub(crate) fn propagate(mut self) -> Self {
        if let (Some(ErrorCode::APP_ERROR), Ok(code @ 1..=63)) = (self.0.code, u8::try_from(self.0.app_code)) {
            self.0.exit = Exit::Code(code);
        }
        self
    }

    /// How the process ends.
    pub(crate) fn exit(&self) -> Exit {
        self.0.exit
    }

    /// Writes the line to standard error, with one write: lines of concurrent processes do not mix.
    pub(crate) fn report(&self, format: Format, loudness: Loudness) {
        if self.0.is_silent || loudness == Loudness::Quiet {
            return;
        }
        let line = match format {
            Format::Text => self.text(),
            Format::Json => self.json(),
        };
        let _ = term::write_all(io::stderr(), line.as_bytes()); // nobody is left to tell
    }

    fn text(&self) -> String {
        let Inner { subject, name, message, hint, .. } = &*self.0;
        let subject = if subject.is_empty() { String::new() } else { format!("{}: ", escape::line(subject)) };
        let hint = if hint.is_empty() { String::new() } else { format!(" ({})", escape::line(hint)) };
        format!("ipcctl: {subject}{name}: {}{hint}\n", escape::line(message.trim_end()))
    }

    fn json(&self) -> String {
        let inner = &*self.0;
        let line = JsonLine {
            error: &inner.name,
            code: inner.code.map(|code| code.0),
            exit: inner.exit.code(),
            retry: inner.retry,
            target: &inner.subject,
            message: &inner.message,
            hint: &inner.hint,
            app_code: (inner.code == Some(ErrorCode::APP_ERROR)).then_some(inner.app_code),
        };
        let mut text = serde_json::to_string(&line).expect("strings and numbers always serialize");
        if let Some(body) = &inner.body {
            // The application's own value is spliced in as it came: parsing it could only change it.
            text.truncate(text.len() - 1);
            text = format!("{text},\"body\":{}}}", String::from_utf8_lossy(&json::document(body)));
        }
        text + "\n"
    }
}

#[derive(Serialize)]
struct JsonLine<'a> {
    error: &'a str,
    code: Option<u16>,
    exit: u8,
    retry: Retry,
    target: &'a str,
    message: &'a str,
    hint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_code: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_subject_error_and_way_out() {
        let problem = Problem::new(ErrorCode::NO_SERVICE, "calc.add", "no process offers 'calc'").hint("wait for it");
        assert_eq!(problem.text(), "ipcctl: calc.add: no_service: no process offers 'calc' (wait for it)\n");
        assert_eq!(problem.exit(), Exit::Code(68));
    }

    #[test]
    fn it_is_one_line_whatever_a_service_says() {
        let problem = Problem::new(ErrorCode::INVALID, "a", "no\nipcctl: forged\x1b[2J\n").hint("");
        assert_eq!(problem.text(), "ipcctl: a: invalid: no\\nipcctl: forged\\u{1b}[2J\n");
    }

    #[test]
    fn json_carries_the_same_facts() {
        let problem = Problem::new(ErrorCode::BUSY, "a", "full").hint("later");
        let value: serde_json::Value = serde_json::from_str(&problem.json()).unwrap();
        let expected = serde_json::json!({
            "error": "busy", "code": 14, "exit": 75, "retry": "safe", "target": "a", "message": "full", "hint": "later"
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn only_codes_that_no_other_error_has_are_propagated() {
        let failed = |app_code| {
            let mut problem = Problem::new(ErrorCode::APP_ERROR, "a", "no");
            problem.0.app_code = app_code;
            problem.propagate().exit()
        };
        assert_eq!(failed(3), Exit::Code(3));
        assert_eq!(failed(63), Exit::Code(63));
        assert_eq!(failed(64), Exit::Code(1));
        assert_eq!(failed(0), Exit::Code(1));
        assert_eq!(failed(256 + 3), Exit::Code(1));
    }

    #[test]
    fn a_reader_that_has_gone_is_no_news() {
        assert!(Problem::output(&io::ErrorKind::BrokenPipe.into()).0.is_silent);
        let full = Problem::output(&io::ErrorKind::StorageFull.into());
        assert_eq!((full.exit(), full.0.is_silent), (Exit::Code(74), false));
    }
}
