//! What a call can end with instead of a reply.

use std::{convert::Infallible, fmt, io, sync::Arc};

use ipc_protocol::{Encoding, ErrorCode, Failure, Retry};

use crate::request::Response;

/// Why a call ended without a reply, or why it could not be made.
///
/// Says with [`Error::retry`] whether the same request may be sent again without running twice.
#[derive(Clone)]
pub struct Error(Box<Cause>); // boxed: every Result in this crate carries one, and nearly all of them are Ok

#[derive(Clone, Debug)]
struct Cause {
    code: ErrorCode,
    retry: Retry,
    text: String,
    app_code: u32,
    /// Items that had been sent on, where the broker counted them.
    delivered: Option<u64>,
    body: Response,
    /// What the system said, if it was asked.
    source: Option<Arc<io::Error>>,
}

impl Cause {
    /// Said to people at the end of the sentence, and made from the retry answer: texts of the broker and of services leave it out.
    fn ran(&self) -> &'static str {
        match (self.retry, self.code) {
            (Retry::Safe, _) | (_, ErrorCode::APP_ERROR) => "",
            (Retry::Unknown, _) => "; the call may have run",
        }
    }
}

/// Result of a fallible operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The system refuses what the library itself needs, such as a descriptor or a thread.
    pub(crate) fn host(operation: &str, error: io::Error) -> Self {
        Self::new(ErrorCode::INTERNAL, format!("cannot {operation}: {}", reason(&error))).caused_by(error)
    }

    /// An error with the retry answer that its code implies.
    #[must_use]
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        let body = Response { encoding: Encoding::BYTES, body: bytes::Bytes::new() };
        Self(Box::new(Cause {
            code,
            retry: code.retry(),
            text: text.into(),
            app_code: 0,
            delivered: None,
            body,
            source: None,
        }))
    }

    /// The same error with another answer to whether it may be retried.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// The same error with the application's own code.
    pub(crate) fn with_app_code(mut self, app_code: u32) -> Self {
        self.0.app_code = app_code;
        self
    }

    /// The same error with the number of items that had been sent on.
    pub(crate) fn with_delivered(mut self, delivered: Option<u64>) -> Self {
        self.0.delivered = delivered;
        self
    }

    /// The same error with what the system said: its [`source`](std::error::Error::source).
    pub(crate) fn caused_by(mut self, error: io::Error) -> Self {
        self.0.source = Some(Arc::new(error));
        self
    }

    /// What happened, as a row of the error table.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// Whether the same request may be sent again without running twice.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Whether the same request may be sent again without running twice: [`Error::retry`] is [`Retry::Safe`].
    #[must_use]
    pub fn is_retry_safe(&self) -> bool {
        self.retry() == Retry::Safe
    }

    /// What happened, to what, and what to do: one sentence.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The application's own code in an `app_error`; 0 otherwise.
    #[must_use]
    pub fn app_code(&self) -> u32 {
        self.0.app_code
    }

    /// How many of this side's items the broker had sent on when it ended a call with streams; `None` if it didn't say.
    #[must_use]
    pub fn delivered(&self) -> Option<u64> {
        self.0.delivered
    }

    /// The application's own error value in an `app_error`, or an empty body.
    #[must_use]
    pub fn body(&self) -> &Response {
        &self.0.body
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{}", self.0.code, self.0.text, self.0.ran())
    }
}

/// The sentence and whether a retry is safe: what a `main` that returns the error prints.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let retry = match self.0.retry {
            Retry::Safe => "safe",
            Retry::Unknown => "unknown",
        };
        match self.0.app_code {
            0 => write!(f, "{self} (retry: {retry})"),
            app_code => write!(f, "{self} (app code: {app_code}, retry: {retry})"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|error| error as _)
    }
}

/// An error that came over the wire. One without a text gets the sentence of its code.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let Failure { code, retry, app_code, mut text, delivered, encoding, body, .. } = failure;
        if text.is_empty() {
            text = code.row().map_or("the broker gives no reason", |row| row.sentence).to_owned();
        }
        Self(Box::new(Cause {
            code,
            retry,
            text,
            app_code,
            delivered,
            body: Response { encoding, body: body.into_bytes() }.detached(),
            source: None,
        }))
    }
}

/// Why a typed call ended without its reply.
#[derive(Clone)]
#[non_exhaustive]
pub enum CallError<E> {
    /// The service ran the call and said no, in its own words.
    App(E),
    /// Anything else.
    Failed(Error),
}

impl<E> CallError<E> {
    /// Whether the same call may be sent again without running twice. One that the service said no to has run.
    #[must_use]
    pub fn is_retry_safe(&self) -> bool {
        match self {
            Self::App(_) => false,
            Self::Failed(error) => error.is_retry_safe(),
        }
    }

    /// What happened, as a row of the error table.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::App(_) => ErrorCode::APP_ERROR,
            Self::Failed(error) => error.code(),
        }
    }
}

impl<E> From<Error> for CallError<E> {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A method that never says no leaves the library's own errors.
impl From<CallError<Infallible>> for Error {
    fn from(error: CallError<Infallible>) -> Self {
        match error {
            CallError::App(never) => match never {},
            CallError::Failed(error) => error,
        }
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(error) => fmt::Display::fmt(error, f),
            Self::Failed(error) => fmt::Display::fmt(error, f),
        }
    }
}

/// As a `main` prints it that returns the error.
impl<E: fmt::Debug> fmt::Debug for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(error) => write!(f, "{}: {error:?}", ErrorCode::APP_ERROR),
            Self::Failed(error) => fmt::Debug::fmt(error, f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for CallError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::App(_) => None,
            Self::Failed(error) => error.source(), // the error itself is what is displayed
        }
    }
}

/// What the system says about a failure, without std's "(os error 2)".
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error ").map_or(text.as_str(), |(reason, _)| reason).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_main_prints_is_the_sentence_and_whether_a_retry_is_safe() {
        let taken = Error::new(ErrorCode::NAME_TAKEN, "another process holds 'rooms'");
        assert_eq!(format!("{taken:?}"), "name_taken: another process holds 'rooms' (retry: safe)");
        let gone = Error::new(ErrorCode::SERVICE_GONE, "'rooms' went away");
        assert_eq!(format!("{gone:#?}"), "service_gone: 'rooms' went away; the call may have run (retry: unknown)");
        let failed: CallError<String> = gone.into();
        assert_eq!(format!("{failed:?}"), "service_gone: 'rooms' went away; the call may have run (retry: unknown)");
        let said = Error::new(ErrorCode::APP_ERROR, "it is full").with_app_code(2);
        assert_eq!(format!("{said:?}"), "app_error: it is full (app code: 2, retry: unknown)");
        assert_eq!(format!("{:?}", CallError::App("full")), "app_error: \"full\"");
    }
}
