//! The error that a service answers with.

use bytes::Bytes;
use ipc_protocol::{Encoding, ErrorCode, Failure, limits::MAX_BODY};

use crate::error::Error;

/// An error to answer a call with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed(pub(crate) Failure);

impl Failed {
    /// An error of the service: `app_error` for one of its own, else `invalid`, `unsupported_encoding`, `too_large`, `no_method`,
    /// `internal`, `busy`, `denied`, `deadline` or `cancelled`; the broker turns the others into `internal`, for they speak for
    /// itself. Whether a retry is safe follows from the code. A text over 2,048 bytes is cut.
    #[must_use]
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self(Failure::new(0, code, text))
    }

    /// Gives an `app_error` the application's own code.
    #[must_use]
    pub fn app_code(mut self, code: u32) -> Self {
        self.0.app_code = code;
        self
    }

    /// Gives an `app_error` the application's own error value; one over [`MAX_BODY`] is left out.
    #[must_use]
    pub fn body(mut self, encoding: Encoding, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        if body.len() <= MAX_BODY as usize {
            self.0.encoding = encoding;
            self.0.body = body.into();
        }
        self
    }
}

/// Passes on what a nested call ended with: a `deadline` or `cancelled` as it is, anything else as `internal`. The method may have
/// acted before, so an error that says that a retry is safe would be wrong here.
impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        match error.code() {
            code @ (ErrorCode::DEADLINE | ErrorCode::CANCELLED) => Self::new(code, error.text()),
            _ => Self::new(ErrorCode::INTERNAL, format!("a nested call ended with {error}")),
        }
    }
}
