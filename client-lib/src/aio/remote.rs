//! A service as its async callers have it: what the async clients that the macro makes stand on.

use std::{fmt, sync::Arc, time::Duration};

use super::{client::AsyncClient, pending::AsyncPending, stream::AsyncStreamCall};
use crate::{
    error::{CallError, Result},
    method::{AsRequest, ErrorOf, ReplyOf},
    stream_method::AsStreamRequest,
};

/// A service that is called under a name which is known when the program runs, or with a deadline of its own: an async
/// [`Remote`](crate::Remote).
#[derive(Clone)]
pub struct AsyncRemote {
    client: AsyncClient,
    /// Instead of the one that the method has.
    name: Option<Arc<str>>,
    timeout: Option<Duration>,
}

impl AsyncRemote {
    /// The service that each method names, with the broker's default deadline.
    #[must_use]
    pub fn new(client: &AsyncClient) -> Self {
        Self { client: client.clone(), name: None, timeout: None }
    }

    /// The service of this name. A bad name is an error of each call.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Gives each call this long, and each call with streams this long a silence: 1 ms to 1 h, other values are moved to the nearer end.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The client that carries the calls.
    #[must_use]
    pub fn client(&self) -> &AsyncClient {
        &self.client
    }

    /// As [`AsyncClient::call`].
    ///
    /// # Errors
    /// As [`AsyncClient::call`].
    pub async fn call<Q: AsRequest>(&self, request: &Q) -> Result<ReplyOf<Q>, CallError<ErrorOf<Q>>> {
        self.client.call_at(self.name.as_deref(), request, self.timeout).await
    }

    /// As [`AsyncClient::start`].
    ///
    /// # Errors
    /// As [`AsyncClient::start`].
    pub async fn start<Q: AsRequest>(&self, request: Q) -> Result<AsyncPending<Q>> {
        self.client.start_at(self.name.as_deref(), request, self.timeout).await
    }

    /// As [`AsyncClient::tell`].
    ///
    /// # Errors
    /// As [`AsyncClient::tell`].
    pub async fn tell<Q: AsRequest>(&self, request: &Q) -> Result<()> {
        self.client.tell_at(self.name.as_deref(), request, self.timeout).await
    }

    /// As [`AsyncClient::stream`].
    ///
    /// # Errors
    /// As [`AsyncClient::stream`].
    pub async fn stream<Q: AsStreamRequest>(&self, request: &Q) -> Result<AsyncStreamCall<Q::Method>> {
        self.client.stream_at(self.name.as_deref(), request, self.timeout).await
    }
}

impl fmt::Debug for AsyncRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncRemote").field("name", &self.name).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
