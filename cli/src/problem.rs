//! What goes wrong: one line on standard error, and an exit code.
//!
//! A [`Problem`] keeps what is known (an error with its retry answer, or what the host said) and makes words of it only when it is
//! reported: nothing here reads a sentence to find out what happened.

use std::io;

use ipc_client::{Error, ErrorCode, Retry};
use nix::errno::Errno;
use serde::Serialize;

use crate::{
    escape,
    exit::Exit,
    format::{Format, Loudness},
    hint, json, term,
};

/// A failure as the user sees it: `ipcctl: SUBJECT: NAME: sentence (hint)`.
#[derive(Debug)]
pub(crate) struct Problem(Box<Report>); // boxed: each Result in this crate carries one, and most of them are Ok

/// Result of what can end in a [`Problem`].
pub(crate) type Result<T> = std::result::Result<T, Problem>;

#[derive(Debug)]
struct Report {
    subject: String,
    cause: Cause,
    /// Words for the way out, where those of [`hint`] do not fit.
    way_out: Option<String>,
}

/// What happened.
#[derive(Debug)]
enum Cause {
    /// A call that the user asked for ended with an error, in this line of the input if there are several.
    Call { error: Error, exit: Exit, line: Option<u64> },
    /// A row of the error table, though no call of the user's was made.
    Row { error: Error, line: Option<u64> },
    /// Something that concerns `ipcctl` alone; `name` is not in the error table.
    Own { name: &'static str, exit: u8, retry: Retry, message: String },
    /// Nothing reads standard output any more: that is how `ipcctl list | head -1` ends, and no news.
    ReaderGone,
}

impl Problem {
    /// A row of the error table, found by `ipcctl` before it made a call.
    pub(crate) fn new(code: ErrorCode, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::from_error(subject, &Error::new(code, message))
    }

    /// What the library or the broker's own service says. `subject` is what it is about.
    pub(crate) fn from_error(subject: impl Into<String>, error: &Error) -> Self {
        Self::because(subject, Cause::Row { error: error.clone(), line: None })
    }

    /// What a call of `subject` ended with: its line says whether it may have run.
    pub(crate) fn of_call(subject: impl Into<String>, error: &Error) -> Self {
        let exit = Exit::Code(error.code().exit());
        Self::because(subject, Cause::Call { error: error.clone(), exit, line: None })
    }

    /// The command line is wrong.
    pub(crate) fn usage(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::USAGE, subject, message)
    }

    /// Something that concerns `ipcctl` alone. Whether anything has run is taken for unknown.
    pub(crate) fn own(name: &'static str, exit: u8, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::because(subject, Cause::Own { name, exit, retry: Retry::Unknown, message: message.into() })
    }

    /// The host refuses what `ipcctl` itself needs: exit 125, as timeout(1) and env(1) have it.
    pub(crate) fn host(subject: impl Into<String>, operation: &str, error: &io::Error) -> Self {
        let problem = Self::own("failed", 125, subject, format!("{operation}: {}", term::reason(error)));
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EMFILE) => problem.hint("'ulimit -n' limits the open files of a process"),
            Some(Errno::EAGAIN) => problem.hint("'ulimit -u' limits the processes and threads of a user"),
            _ => problem,
        }
    }

    /// Standard output cannot take what it was to take.
    ///
    /// Exit 74, unless its reader has gone: an answer that was there is lost. That is what 74 means for `service_gone` and
    /// `broker_lost`, and what `EX_IOERR` is (sysexits.h).
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::because("", Cause::ReaderGone);
        }
        Self::own("output", 74, "stdout", format!("cannot write: {}", term::reason(error)))
    }

    /// Whether it is this row of the error table.
    pub(crate) fn is(&self, code: ErrorCode) -> bool {
        match &self.0.cause {
            Cause::Call { error, .. } | Cause::Row { error, .. } => error.code() == code,
            _ => false,
        }
    }

    /// Replaces the way out that the error implies.
    pub(crate) fn hint(mut self, way_out: impl Into<String>) -> Self {
        self.0.way_out = Some(way_out.into());
        self
    }

    /// The call ended because of a signal, and so does the process.
    pub(crate) fn interrupted(mut self, signal: Exit) -> Self {
        if let Cause::Call { exit, .. } = &mut self.0.cause {
            *exit = signal;
        }
        self
    }

    /// Says that nothing has run, where that is known.
    pub(crate) fn not_run(mut self) -> Self {
        if let Cause::Own { retry, .. } = &mut self.0.cause {
            *retry = Retry::Safe;
        }
        self
    }

    /// Says in which line of the input the call was.
    pub(crate) fn at_line(mut self, number: u64) -> Self {
        if let Cause::Call { line, .. } | Cause::Row { line, .. } = &mut self.0.cause {
            *line = Some(number);
        }
        self
    }

    /// With `--propagate`: the application's own code is the exit code, if it is one that no other error has.
    pub(crate) fn propagate(mut self) -> Self {
        if let Cause::Call { error, exit, .. } = &mut self.0.cause
            && error.code() == ErrorCode::APP_ERROR
            && let Some(own) = propagated(error.app_code())
        {
            *exit = own;
        }
        self
    }

    /// How the process ends.
    pub(crate) fn exit(&self) -> Exit {
        match &self.0.cause {
            Cause::Call { exit, .. } => *exit,
            Cause::Row { error, .. } => Exit::Code(error.code().exit()),
            Cause::Own { exit, .. } => Exit::Code(*exit),
            Cause::ReaderGone => Exit::BROKEN_PIPE,
        }
    }

    /// Writes the line to standard error, with one write: lines of concurrent processes do not mix.
    pub(crate) fn report(&self, format: Format, loudness: Loudness) {
        if matches!(self.0.cause, Cause::ReaderGone) || loudness == Loudness::Quiet {
            return;
        }
        let _ = term::write_all(io::stderr(), self.line(format).as_bytes()); // there is nowhere else to say it
    }

    /// The line, with its end.
    pub(crate) fn line(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(),
            Format::Json => self.json(),
        }
    }

    fn because(subject: impl Into<String>, cause: Cause) -> Self {
        Self(Box::new(Report { subject: subject.into(), cause, way_out: None }))
    }

    fn text(&self) -> String {
        let (message, hint) = (self.message(), self.hint_words());
        let subject = match self.0.subject.as_str() {
            "" => String::new(),
            subject => format!("{}: ", escape::line(subject)),
        };
        let hint = if hint.is_empty() { String::new() } else { format!(" ({})", escape::line(&hint)) };
        format!("ipcctl: {subject}{}: {}{hint}\n", self.name(), escape::line(message.trim_end()))
    }

    fn json(&self) -> String {
        let error = self.error();
        let line = JsonLine {
            error: &self.name(),
            code: error.map(|error| error.code().0),
            exit: self.exit().code(),
            retry: self.retry(),
            target: &self.0.subject,
            message: &self.message(),
            hint: &self.hint_words(),
            app_code: error.filter(|error| error.code() == ErrorCode::APP_ERROR).map(Error::app_code),
        };
        let mut text = serde_json::to_string(&line).expect("strings and numbers always serialize");
        if let Some(error) = error.filter(|error| !error.body().body.is_empty()) {
            // The application's own value goes in as it came: parsing it could only change it.
            text.truncate(text.len() - 1);
            text = format!("{text},\"body\":{}}}", String::from_utf8_lossy(&json::document(error.body())));
        }
        text + "\n"
    }

    fn name(&self) -> String {
        match &self.0.cause {
            Cause::Call { error, .. } | Cause::Row { error, .. } => error.code().to_string(),
            Cause::Own { name, .. } => (*name).to_owned(),
            Cause::ReaderGone => "output".to_owned(),
        }
    }

    fn message(&self) -> String {
        match &self.0.cause {
            Cause::Call { error, line: Some(line), .. } | Cause::Row { error, line: Some(line) } => {
                format!("line {line}: {}", error.text())
            }
            Cause::Call { error, line: None, .. } | Cause::Row { error, line: None } => error.text().to_owned(),
            Cause::Own { message, .. } => message.clone(),
            Cause::ReaderGone => "its reader has gone".to_owned(),
        }
    }

    fn retry(&self) -> Retry {
        match &self.0.cause {
            Cause::Call { error, .. } | Cause::Row { error, .. } => error.retry(),
            Cause::Own { retry, .. } => *retry,
            Cause::ReaderGone => Retry::Unknown,
        }
    }

    fn error(&self) -> Option<&Error> {
        match &self.0.cause {
            Cause::Call { error, .. } | Cause::Row { error, .. } => Some(error),
            Cause::Own { .. } | Cause::ReaderGone => None,
        }
    }

    fn hint_words(&self) -> String {
        let way_out = self.0.way_out.clone();
        match &self.0.cause {
            Cause::Call { error, .. } => {
                let way_out = way_out.unwrap_or_else(|| hint::way_out(&self.0.subject, error));
                hint::joined(hint::ran(error), &way_out)
            }
            // An older broker lacks an operation. What a service lacks comes with its own words.
            Cause::Row { error, .. } if error.code() == ErrorCode::NO_METHOD => way_out.unwrap_or_default(),
            Cause::Row { error, .. } => way_out.unwrap_or_else(|| hint::way_out(&self.0.subject, error)),
            Cause::Own { .. } | Cause::ReaderGone => way_out.unwrap_or_default(),
        }
    }
}

/// Codes from 64 on have a meaning of their own in the error table.
fn propagated(app_code: u32) -> Option<Exit> {
    u8::try_from(app_code).ok().filter(|code| matches!(code, 1..=63)).map(Exit::Code)
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
    fn only_the_line_of_a_call_says_whether_it_may_have_run() {
        let error = Error::new(ErrorCode::BUSY, "full");
        assert_eq!(Problem::of_call("a", &error).text(), "ipcctl: a: busy: full (it has not run; try again later)\n");
        assert_eq!(Problem::from_error("a", &error).text(), "ipcctl: a: busy: full (try again later)\n");
    }

    #[test]
    fn words_of_a_service_do_not_change_the_hint() {
        let error = Error::new(ErrorCode::SERVICE_GONE, "a backup may have run").with_retry(Retry::Unknown);
        assert!(Problem::of_call("a", &error).text().ends_with("a backup may have run (it may have run)\n"));
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
    fn a_failure_of_the_host_promises_nothing_about_a_call() {
        let problem = Problem::host("a", "cannot start", &io::ErrorKind::OutOfMemory.into());
        assert_eq!((problem.exit(), problem.retry()), (Exit::Code(125), Retry::Unknown));
        assert_eq!(problem.not_run().retry(), Retry::Safe);
    }

    #[test]
    fn a_line_of_the_input_is_named() {
        let problem = Problem::of_call("a", &Error::new(ErrorCode::BUSY, "full")).at_line(7);
        assert!(problem.text().starts_with("ipcctl: a: busy: line 7: full "), "{}", problem.text());
    }

    #[test]
    fn only_codes_that_no_other_error_has_are_propagated() {
        assert_eq!(propagated(3), Some(Exit::Code(3)));
        assert_eq!(propagated(63), Some(Exit::Code(63)));
        assert_eq!(propagated(64), None);
        assert_eq!(propagated(0), None);
        assert_eq!(propagated(256 + 3), None);
    }

    #[test]
    fn a_reader_that_has_gone_is_no_news() {
        assert_eq!(Problem::output(&io::ErrorKind::BrokenPipe.into()).exit(), Exit::BROKEN_PIPE);
        assert_eq!(Problem::output(&io::ErrorKind::StorageFull.into()).exit(), Exit::Code(74));
    }
}
