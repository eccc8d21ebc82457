//! A service of futures and its clients in one process, without a broker.

use std::{fmt, sync::Arc};

use crate::{
    aio::{
        client::AsyncClient,
        service::{AsyncService, AsyncServing},
    },
    connect::Connect,
    error::Result,
    link::channel::Channel,
};

/// A service of futures, and a client that is joined to it directly: see [`AsyncClient::connected_pair`].
pub struct AsyncConnectedPair {
    /// Calls the service.
    pub client: AsyncClient,
    /// Answers until it is dropped.
    pub serving: AsyncServing,
    channel: Arc<Channel>,
}

impl AsyncClient {
    /// Starts a service, with a client that is joined to it in memory, as [`Client::connected_pair`](crate::Client::connected_pair) does.
    ///
    /// ```
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Double(u32);
    /// # impl ipc_client::Method for Double {
    /// #     const SERVICE: &'static str = "double";
    /// #     const METHOD: &'static str = "";
    /// #     type Reply = u32;
    /// #     type Error = std::convert::Infallible;
    /// # }
    /// use ipc_client::{AsyncClient, AsyncService};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let service = AsyncService::new("double").method(|of: Double, _| async move { Ok(of.0 * 2) });
    /// let pair = AsyncClient::connected_pair(service).await?;
    /// assert_eq!(pair.client.call(&Double(2)).await?, 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`AsyncService::start`]; `internal` if the system refuses an eventfd.
    pub async fn connected_pair(service: AsyncService) -> Result<AsyncConnectedPair> {
        let channel = Channel::shared()?;
        let serving = service.within(&channel).start().await?;
        let client = Connect::default().within(&channel).connect_async().await?;
        Ok(AsyncConnectedPair { client, serving, channel })
    }
}

impl AsyncConnectedPair {
    /// Another client of the service: a peer with a number of its own, whose calls are cancelled when it is dropped. Clones of a client
    /// are the same peer.
    ///
    /// # Errors
    /// `internal` if the system refuses an eventfd; `usage` outside of a runtime.
    pub async fn connect(&self) -> Result<AsyncClient> {
        Connect::default().within(&self.channel).connect_async().await
    }
}

impl fmt::Debug for AsyncConnectedPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncConnectedPair").field("client", &self.client).finish_non_exhaustive()
    }
}
