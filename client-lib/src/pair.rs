//! A service and its clients in one process, without a broker.

use std::{fmt, sync::Arc};

use crate::{
    client::Client,
    connect::Connect,
    error::Result,
    link::channel::Channel,
    service::{Service, Serving},
};

/// A service, and a client that is joined to it directly: see [`Client::connected_pair`].
pub struct ConnectedPair {
    /// Calls the service.
    pub client: Client,
    /// Answers until it is dropped.
    pub serving: Serving,
    channel: Arc<Channel>,
}

impl Client {
    /// Starts a service, with a client that is joined to it in memory: no broker, no socket, no file, and no thread but those that the
    /// service has anyway. For tests of a service, and for programs that use one of their own. It needs no feature.
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
    /// use ipc_client::{Client, Service};
    ///
    /// let pair = Client::connected_pair(Service::new("double").quick(|of: Double, _| Ok(of.0 * 2)))?;
    /// assert_eq!(pair.client.call(&Double(2))?, 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Service and client are the same as with a broker, and what they send is encoded as there. Calls, errors of the application,
    /// deadlines, cancels, one-way calls, streams, descriptions, `@N` and the calls of [`Context::client`](crate::Context::client) work;
    /// callers have the identity of this process. The window of the service holds, and behind it up to 1,024 calls wait; a further one
    /// ends with `busy`. When the service has ended, calls end with `service_gone`, and new ones with `no_service`.
    ///
    /// What takes a broker is refused, as not run: events, subscriptions, locks and all operations of `ipc` but `ipc.ping` end with
    /// `no_method`, calls to other names with `no_service`. `testing::broker` has them all, with the
    /// feature `testing`.
    ///
    /// # Errors
    /// As [`Service::start`]; `internal` if the system refuses an eventfd. An address that the service was given is not used.
    pub fn connected_pair(service: Service) -> Result<ConnectedPair> {
        let channel = Channel::shared()?;
        let serving = service.within(&channel).start()?;
        let client = Connect::default().within(&channel).connect()?;
        Ok(ConnectedPair { client, serving, channel })
    }
}

impl ConnectedPair {
    /// Another client of the service: a peer with a number of its own, whose calls are cancelled when it is dropped. Clones of a client
    /// are the same peer.
    ///
    /// # Errors
    /// `internal` if the system refuses an eventfd.
    pub fn connect(&self) -> Result<Client> {
        Connect::default().within(&self.channel).connect()
    }
}

impl fmt::Debug for ConnectedPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, serving, .. } = self;
        f.debug_struct("ConnectedPair").field("client", client).field("serving", serving).finish_non_exhaustive()
    }
}
