//! What a method says when it says no.

use std::{convert::Infallible, fmt::Display};

use ipc_protocol::{Encoding, codec};
use serde::{Serialize, de::DeserializeOwned};

use crate::shape::{Shape, Type};

/// An error of a service's own, as a value: a Rust caller has it as [`CallError::App`](crate::CallError::App), a caller in another
/// language as JSON, and a shell as its `Display` text and its code.
///
/// The [derive](derive@crate::AppError) writes it; by hand it is this:
///
/// ```
/// use ipc_client::AppError;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Serialize, Deserialize, thiserror::Error)]
/// enum StoreError {
///     #[error("there is no such key")]
///     NoKey,
///     #[error("the value has more than {limit} bytes")]
///     TooLong { limit: usize },
/// }
///
/// impl AppError for StoreError {
///     fn code(&self) -> u8 {
///         match self {
///             Self::NoKey => 2,
///             Self::TooLong { .. } => 3,
///         }
///     }
/// }
/// ```
///
/// A shell then writes `ipcctl send --propagate store.get key=x || [ $? -eq 2 ]`.
pub trait AppError: Serialize + DeserializeOwned + Display {
    /// A number for this error from 1 to 63, which never changes: the exit code of `ipcctl send --propagate`.
    fn code(&self) -> u8 {
        1
    }
}

impl AppError for String {}

/// What can be the [`Method::Error`](crate::Method::Error): each [`AppError`], and [`Infallible`] for a method that never says no.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the error of a method",
    note = "implement `ipc_client::AppError` for it, or use `std::convert::Infallible` for a method that never says no"
)]
pub trait MethodError: Display + Sized + sealed::Sealed {
    #[doc(hidden)]
    fn app_code(&self) -> u8;
    #[doc(hidden)]
    fn shape() -> Option<Type>;
    #[doc(hidden)]
    fn encode(&self, encoding: Encoding) -> Option<Vec<u8>>;
    #[doc(hidden)]
    fn decode(encoding: Encoding, body: &[u8]) -> Option<Self>;
}

impl<E: AppError> MethodError for E {
    fn app_code(&self) -> u8 {
        self.code()
    }

    fn shape() -> Option<Type> {
        Type::of::<E>()
    }

    fn encode(&self, encoding: Encoding) -> Option<Vec<u8>> {
        codec::encode(encoding, self).ok()
    }

    fn decode(encoding: Encoding, body: &[u8]) -> Option<Self> {
        codec::decode(encoding, body).ok()
    }
}

impl MethodError for Infallible {
    fn app_code(&self) -> u8 {
        match *self {}
    }

    fn shape() -> Option<Type> {
        Some(Type::plain(Shape::Never))
    }

    fn encode(&self, _encoding: Encoding) -> Option<Vec<u8>> {
        match *self {}
    }

    fn decode(_encoding: Encoding, _body: &[u8]) -> Option<Self> {
        None
    }
}

mod sealed {
    /// Keeps the trait from being implemented elsewhere, so that it can grow.
    pub trait Sealed {}
    impl<E: super::AppError> Sealed for E {}
    impl Sealed for super::Infallible {}
}
