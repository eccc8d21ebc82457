//! A service as its async callers have it: what the async clients that the macro makes stand on.

use super::{client::AsyncClient, pending::AsyncPending, stream::AsyncStreamCall};
use crate::{
    error::{CallError, Result},
    method::{AsRequest, ErrorOf, ReplyOf},
    remote::Remote,
    stream_method::AsStreamRequest,
};

/// A service that is called by futures under a name which is known when the program runs, or with a deadline of its own.
pub type AsyncRemote = Remote<AsyncClient>;

impl Remote<AsyncClient> {
    /// As [`AsyncClient::call`].
    ///
    /// # Errors
    /// As [`AsyncClient::call`].
    pub async fn call<Q: AsRequest>(&self, request: &Q) -> Result<ReplyOf<Q>, CallError<ErrorOf<Q>>> {
        self.client().call_at(self.name(), request, self.timeout()).await
    }

    /// As [`AsyncClient::start`].
    ///
    /// # Errors
    /// As [`AsyncClient::start`].
    pub async fn start<Q: AsRequest>(&self, request: Q) -> Result<AsyncPending<Q>> {
        self.client().start_at(self.name(), request, self.timeout()).await
    }

    /// As [`AsyncClient::tell`].
    ///
    /// # Errors
    /// As [`AsyncClient::tell`].
    pub async fn tell<Q: AsRequest>(&self, request: &Q) -> Result<()> {
        self.client().tell_at(self.name(), request, self.timeout()).await
    }

    /// As [`AsyncClient::stream`].
    ///
    /// # Errors
    /// As [`AsyncClient::stream`].
    pub async fn stream<Q: AsStreamRequest>(&self, request: &Q) -> Result<AsyncStreamCall<Q::Method>> {
        self.client().stream_at(self.name(), request, self.timeout()).await
    }
}
