//! The contract between a typed client and a typed service, for a method with streams.

use serde::{Serialize, de::DeserializeOwned};

use crate::app_error::MethodError;

/// A method whose request is followed by items, whose reply comes behind items, or both; the implementing type is its request.
///
/// Both sides share the type, as that of a [`Method`](crate::Method); what is said there about types holds for items as well. Items that
/// are nothing but bytes are best a [`bytes::Bytes`].
///
/// ```
/// use ipc_client::StreamMethod;
/// use serde::{Deserialize, Serialize};
///
/// /// Sends the lines of a text, and gets each of them back in capitals.
/// #[derive(Serialize, Deserialize)]
/// struct Shout;
///
/// impl StreamMethod for Shout {
///     const SERVICE: &'static str = "shout";
///     const METHOD: &'static str = "";
///     type In = String;
///     type Out = String;
///     type Reply = usize;
///     type Error = String;
/// }
/// ```
pub trait StreamMethod: Serialize + DeserializeOwned {
    /// Name of the service that a client calls.
    const SERVICE: &'static str;
    /// Name of the method; empty for the default method of the service.
    const METHOD: &'static str;
    /// Whether the caller sends items.
    const UPLOAD: bool = true;
    /// Whether the service sends items.
    const DOWNLOAD: bool = true;
    /// An item of the caller; `()` if it sends none.
    type In: Serialize + DeserializeOwned;
    /// An item of the service; `()` if it sends none.
    type Out: Serialize + DeserializeOwned;
    /// The successful end.
    type Reply: Serialize + DeserializeOwned;
    /// What the service says when it says no.
    type Error: MethodError;
}

/// What a caller can send as the request of a method with streams, as [`AsRequest`](crate::AsRequest) is for other methods.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the request of a method with streams",
    note = "implement `ipc_client::StreamMethod` for it, or `ipc_client::AsStreamRequest` if it borrows what a method owns"
)]
pub trait AsStreamRequest: Serialize {
    /// The method whose request it is.
    type Method: StreamMethod;
}

impl<M: StreamMethod> AsStreamRequest for M {
    type Method = M;
}
