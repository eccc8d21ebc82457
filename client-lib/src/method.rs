//! The contract between a typed client and a typed service.

use serde::{Serialize, de::DeserializeOwned};

use crate::app_error::MethodError;

/// A method of a service; the implementing type is its request.
///
/// Both sides share the type. It travels as bincode between Rust programs and as JSON to and from other callers, so it must
/// survive both: no `#[serde(untagged)]`, `flatten`, `tag` or `skip_serializing_if`, and no recursive types, which let a hostile
/// body exhaust the stack. `#[serde(deny_unknown_fields)]` makes the service name a field that a caller misspelled.
///
/// ```
/// use ipc_client::Method;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Add {
///     a: i64,
///     b: i64,
/// }
///
/// impl Method for Add {
///     const SERVICE: &'static str = "calc";
///     const METHOD: &'static str = "add";
///     type Reply = i64;
///     type Error = String;
/// }
/// ```
///
/// # Requests that borrow
/// Only a service needs a request that owns its data. A caller may have one that borrows it: a field of `Cow<'a, str>` serves both,
/// as `Put<'static>` in the service.
///
/// # Bytes
/// To serde a `Vec<u8>` is a list of numbers: in JSON `[104,105]`, four times as long, and slow to read. In bincode it takes one
/// byte a number. A field of bytes is better a [`bytes::Bytes`] or has `#[serde(with = "serde_bytes")]`, which is quick in bincode,
/// though JSON has no bytes, so that it is a list there too. What is nothing but bytes travels as they are: see
/// [`Client::call_bytes`](crate::Client::call_bytes) and [`Service::any`](crate::Service::any).
pub trait Method: Serialize {
    /// Name of the service that a client calls. A service may offer the method under any name.
    const SERVICE: &'static str;
    /// Name of the method; empty for the default method of the service.
    const METHOD: &'static str;
    /// The successful end of a call.
    type Reply: Serialize + DeserializeOwned;
    /// What the service says when it says no: an [`AppError`](crate::AppError), or [`Infallible`](std::convert::Infallible) if it
    /// never does.
    type Error: MethodError;
}

/// A request can be sent by reference, too.
impl<M: Method> Method for &M {
    const SERVICE: &'static str = M::SERVICE;
    const METHOD: &'static str = M::METHOD;
    type Reply = M::Reply;
    type Error = M::Error;
}
