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
/// A service needs a request that owns its data, and a caller often has it elsewhere: see [`AsRequest`].
///
/// # Bytes
/// To serde a `Vec<u8>` is a list of numbers: in JSON `[104,105]`, four times as long, and slow to read. In bincode it takes one
/// byte a number. A field of bytes is better a [`bytes::Bytes`] or has `#[serde(with = "serde_bytes")]`, which is quick in bincode,
/// though JSON has no bytes, so that it is a list there too. What is nothing but bytes travels as they are: see
/// [`Client::call_bytes`](crate::Client::call_bytes) and [`Service::any`](crate::Service::any).
pub trait Method: Serialize + DeserializeOwned {
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

/// What a caller can send as the request of a method: each [`Method`], and types that borrow what a method owns.
///
/// It must serialise to the same as the method: fields of the same types in the same order, and for JSON of the same names. `&str` and
/// `String` are the same to serde, as are `&[T]` and `Vec<T>`.
///
/// ```
/// use ipc_client::{AsRequest, Method};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Put {
///     key: String,
///     value: String,
/// }
///
/// impl Method for Put {
///     const SERVICE: &'static str = "kv";
///     const METHOD: &'static str = "put";
///     type Reply = Option<String>;
///     type Error = std::convert::Infallible;
/// }
///
/// #[derive(Serialize)]
/// struct PutRef<'a> {
///     key: &'a str,
///     value: &'a str,
/// }
///
/// impl AsRequest for PutRef<'_> {
///     type Method = Put;
/// }
///
/// fn put(client: &ipc_client::Client, key: &str, value: &str) -> ipc_client::Result<Option<String>> {
///     client.call(&PutRef { key, value }).map_err(|error| match error {
///         ipc_client::CallError::Failed(error) => error,
///         other => unreachable!("{other}"),
///     })
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the request of a method",
    note = "implement `ipc_client::Method` for it, or `ipc_client::AsRequest` if it borrows what a method owns"
)]
pub trait AsRequest: Serialize {
    /// The method whose request it is.
    type Method: Method;
}

impl<M: Method> AsRequest for M {
    type Method = M;
}

/// What the method of a request replies.
pub(crate) type ReplyOf<Q> = <<Q as AsRequest>::Method as Method>::Reply;
/// The own errors of the method of a request.
pub(crate) type ErrorOf<Q> = <<Q as AsRequest>::Method as Method>::Error;
