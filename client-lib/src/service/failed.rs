//! The error that a service answers with.

use bytes::Bytes;
use ipc_protocol::{Encoding, ErrorCode, Failure, Retry, limits::MAX_BODY};

use crate::error::Error;

/// An error to answer a call with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed(pub(crate) Failure);

impl Failed {
    /// An error with the retry answer that its code implies. A text over 2,048 bytes is cut.
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
            self.0.body = body;
        }
        self
    }

    /// Says whether the call may be sent again without running twice, where the code alone does not tell.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }
}

/// Passes on what a nested call ended with. It has not run as far as the caller is concerned only if the nested call says so and
/// the method did nothing before: so the answer to a retry becomes "unknown"; set it with [`Failed::retry`] where it is known.
impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::new(error.code(), error.text())
            .app_code(error.app_code())
            .body(error.body().encoding, error.body().body.clone())
            .retry(Retry::Unknown)
    }
}
