//! An async service that runs.

use std::{fmt, sync::Arc};

use ipc_protocol::{ErrorCode, PeerNumber};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};

use super::life::Life;
use crate::{
    aio::client::AsyncClient,
    error::{Error, Result},
};

/// A service that runs on a task of its own. Dropping it stops the service, and does not wait for its end.
pub struct AsyncServing {
    client: AsyncClient,
    stop: Arc<Notify>,
    /// What it has ended with.
    ended: watch::Receiver<Option<Result<()>>>,
}

impl AsyncServing {
    pub(super) fn start(life: Life) -> Self {
        let (client, stop) = (life.client().clone(), life.stop().clone());
        let (told, ended) = watch::channel(None);
        Handle::current().spawn(async move {
            let result = life.run().await;
            told.send_replace(Some(result));
        });
        Self { client, stop, ended }
    }

    /// Stops the service and waits for its end: it gives its name back, so that calls go elsewhere, lets the calls that run end, for up to
    /// 5 s, and closes its connection. A call that isn't answered by then ends with `service_gone`, and its future is dropped.
    pub async fn stop(&self) {
        self.stop.notify_one();
        drop(self.wait().await);
    }

    /// Waits until the service has ended.
    ///
    /// # Errors
    /// Why it could not register again after the broker died. A service that was stopped ended well.
    pub async fn wait(&self) -> Result<()> {
        let mut ended = self.ended.clone();
        let gone = |_| Error::new(ErrorCode::CANCELLED, "the runtime of the service has ended");
        let result = ended.wait_for(Option::is_some).await.map_err(gone)?;
        result.clone().unwrap_or(Ok(()))
    }

    /// The number under which the service can be called directly, as `@17`. Another one after a reconnect.
    #[must_use]
    pub fn peer(&self) -> PeerNumber {
        self.client.connection().peer().unwrap_or(PeerNumber(0))
    }

    /// A client on the service's connection. While the broker is away, calls end with `unavailable`.
    #[must_use]
    pub fn client(&self) -> &AsyncClient {
        &self.client
    }
}

impl Drop for AsyncServing {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

impl fmt::Debug for AsyncServing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncServing").field("client", &self.client).finish_non_exhaustive()
    }
}
