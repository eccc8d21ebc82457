//! The error that a service answers with.

use std::{borrow::Cow, convert::Infallible, fmt};

use bytes::Bytes;
use ipc_protocol::{Encoding, ErrorCode, Failure, limits::MAX_BODY};

use crate::{
    app_error::MethodError,
    error::{CallError, Error},
};

/// An error to answer a call with: one of the method's own, or a refusal that any method may have to say.
///
/// `?` makes one of an error of the method's own type, and of what a nested call ended with.
///
/// ```
/// use ipc_client::Failed;
///
/// fn take(queued: usize) -> Result<(), Failed<String>> {
///     if queued > 100 {
///         return Err(Failed::busy("the queue is full")); // not run, so a retry is safe
///     }
///     Err("out of paper".to_owned())? // the method's own error
/// }
/// # assert!(take(1).is_err() && take(101).is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed<E = Infallible>(Cause<E>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Cause<E> {
    App(E),
    Other(Failure),
}

impl<E> Failed<E> {
    /// What the caller receives, as a row of the error table.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match &self.0 {
            Cause::App(_) => ErrorCode::APP_ERROR,
            Cause::Other(failure) => failure.code,
        }
    }

    /// An error of the service: `app_error` for one of its own, else `invalid`, `unsupported_encoding`, `too_large`, `no_method`,
    /// `internal`, `busy`, `denied`, `deadline` or `cancelled`; the broker turns the others into `internal`, for they speak for
    /// itself. Whether a retry is safe follows from the code. A text over 2,048 bytes is cut.
    #[must_use]
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self(Cause::Other(Failure::new(0, code, text)))
    }

    /// `busy`: the service has not run the call and cannot now. A retry is safe.
    #[must_use]
    pub fn busy(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::BUSY, text)
    }

    /// `denied`: this caller may not do this. The service has not run the call.
    #[must_use]
    pub fn denied(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::DENIED, text)
    }

    /// `invalid`: the request is of the right type and makes no sense. The service has not run the call.
    #[must_use]
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::INVALID, text)
    }

    /// Gives an `app_error` the application's own code.
    #[must_use]
    pub fn app_code(mut self, code: u32) -> Self {
        if let Cause::Other(failure) = &mut self.0 {
            failure.app_code = code;
        }
        self
    }

    /// Gives an `app_error` the application's own error value; one over [`MAX_BODY`] is left out.
    #[must_use]
    pub fn body(mut self, encoding: Encoding, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        if let Cause::Other(failure) = &mut self.0
            && body.len() <= MAX_BODY as usize
        {
            failure.encoding = encoding;
            failure.body = body.into();
        }
        self
    }
}

impl<E: fmt::Display> Failed<E> {
    /// The sentence that the caller receives.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match &self.0 {
            Cause::App(error) => error.to_string().into(),
            Cause::Other(failure) => failure.text.as_str().into(),
        }
    }
}

impl<E: MethodError> Failed<E> {
    /// The failure of call `id`, with values in `encoding`. Without the value, when that cannot be encoded: the text says it all the
    /// same.
    pub(crate) fn into_failure(self, id: u64, encoding: Encoding) -> Failure {
        match self.0 {
            Cause::Other(failure) => Failure { id, ..failure },
            Cause::App(error) => {
                let app_code = u32::from(error.app_code());
                let failure = Failure { app_code, ..Failure::new(id, ErrorCode::APP_ERROR, error.to_string()) };
                match error.encode(encoding) {
                    Some(body) => Failure { encoding, body: body.into(), ..failure },
                    None => failure,
                }
            }
        }
    }
}

/// An error of the method's own.
impl<E: MethodError> From<E> for Failed<E> {
    fn from(error: E) -> Self {
        Self(Cause::App(error))
    }
}

/// Passes on what a nested call ended with: a `deadline` or `cancelled` as it is, anything else as `internal`. The method may have
/// acted before, so an error that says that a retry is safe would be wrong here.
impl<E: MethodError> From<Error> for Failed<E> {
    fn from(error: Error) -> Self {
        match error.code() {
            code @ (ErrorCode::DEADLINE | ErrorCode::CANCELLED) => Self::new(code, error.text()),
            _ => Self::new(ErrorCode::INTERNAL, format!("a nested call ended with {error}")),
        }
    }
}

/// Passes on what a nested typed call ended with; another service's own error becomes `internal`.
impl<E: MethodError, X: fmt::Display> From<CallError<X>> for Failed<E> {
    fn from(error: CallError<X>) -> Self {
        match error {
            CallError::Failed(error) => error.into(),
            CallError::App(error) => Self::new(ErrorCode::INTERNAL, format!("a nested call ended with: {error}")),
        }
    }
}
