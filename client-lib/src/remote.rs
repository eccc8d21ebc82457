//! A service as its callers have it: what the clients that the macro makes stand on.

use std::{fmt, sync::Arc, time::Duration};

use ipc_protocol::ErrorCode;

use crate::{
    client::Client,
    error::{CallError, Result},
    method::{AsRequest, ErrorOf, ReplyOf},
    pending::Pending,
    stream::StreamCall,
    stream_method::{AsStreamRequest, StreamMethod},
};

/// A service that is called under a name which is known when the program runs, or with a deadline of its own.
///
/// ```
/// # use ipc_client::{Client, Method, Remote, Service};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Double(u32);
/// # impl Method for Double {
/// #     const SERVICE: &'static str = "double";
/// #     const METHOD: &'static str = "";
/// #     type Reply = u32;
/// #     type Error = std::convert::Infallible;
/// # }
/// # let broker = ipc_client::testing::broker()?;
/// # let address = broker.address();
/// # let _serving = Service::new("double.second").address(&address).quick(|of: Double, _| Ok(of.0 * 2)).start()?;
/// # let client = Client::connect_to(&address)?;
/// let second = Remote::new(&client).named("double.second");
/// assert_eq!(second.call(&Double(2))?, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Remote<C = Client> {
    client: C,
    /// Instead of the one that the method has.
    name: Option<Arc<str>>,
    timeout: Option<Duration>,
}

impl<C: Clone> Remote<C> {
    /// The service that each method names, with the broker's default deadline.
    #[must_use]
    pub fn new(client: &C) -> Self {
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
    pub fn client(&self) -> &C {
        &self.client
    }
}

impl<C> Remote<C> {
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }
}

impl Remote {
    /// As [`Client::call`].
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn call<Q: AsRequest>(&self, request: &Q) -> Result<ReplyOf<Q>, CallError<ErrorOf<Q>>> {
        self.client.call_at(self.name(), request, self.timeout())
    }

    /// As [`Client::start`].
    ///
    /// # Errors
    /// As [`Client::start`].
    pub fn start<Q: AsRequest>(&self, request: Q) -> Result<Pending<Q>> {
        self.client.start_at(self.name(), request, self.timeout())
    }

    /// As [`Client::tell`].
    ///
    /// # Errors
    /// As [`Client::tell`].
    pub fn tell<Q: AsRequest>(&self, request: &Q) -> Result<()> {
        self.client.tell_at(self.name(), request, self.timeout())
    }

    /// As [`Client::stream`].
    ///
    /// # Errors
    /// As [`Client::stream`].
    pub fn stream<Q: AsStreamRequest>(&self, request: &Q) -> Result<StreamCall<Q::Method>> {
        self.client.stream_at(self.name(), request, self.timeout())
    }

    /// Sends all items and waits for the reply. The items are not taken further when the service has answered before their end.
    ///
    /// # Errors
    /// As [`Client::stream`], and what the call ended with; `invalid` or `too_large` if an item can't be encoded: the service then
    /// learns that the items aren't complete.
    pub fn upload<Q: AsStreamRequest>(
        &self,
        request: &Q,
        items: impl IntoIterator<Item = <Q::Method as StreamMethod>::In>,
    ) -> Result<<Q::Method as StreamMethod>::Reply, CallError<<Q::Method as StreamMethod>::Error>> {
        let mut call = self.stream(request)?;
        match items.into_iter().try_for_each(|item| call.send(&item)) {
            Err(error) if matches!(error.code(), ErrorCode::INVALID | ErrorCode::TOO_LARGE) => Err(error.into()),
            Ok(()) | Err(_) => call.end(), // which says better why the items could not be sent
        }
    }
}

impl<C> fmt::Debug for Remote<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("name", &self.name).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
