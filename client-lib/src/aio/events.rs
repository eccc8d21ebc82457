//! A subscription for futures: a stream that outlives its connections.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use futures_core::Stream;
use ipc_protocol::{
    Pattern,
    control::{self, operation},
};

use super::{client::AsyncClient, line::CONNECT};
use crate::{
    error::{Error, Result},
    events::{Notice, Reader, Subscribe, TIMEOUT, asking, is_passing, overrun},
    link::{backoff::Backoff, tokio::Connection},
    session::{Loss, Patience, Serial, Taken, outgoing::Operated, patience::to_ms},
};

impl AsyncClient {
    /// Subscribes to the events whose topics match a pattern, as [`Client::subscribe`](crate::Client::subscribe) does.
    ///
    /// # Errors
    /// As [`Client::subscribe`](crate::Client::subscribe).
    pub async fn subscribe(&self, pattern: impl AsRef<str>) -> Result<AsyncSubscription> {
        self.subscription(pattern).start_async().await
    }

    /// Subscribes with other settings than the defaults.
    pub fn subscription(&self, pattern: impl AsRef<str>) -> Subscribe<Self> {
        Subscribe::by(self.unbound(), pattern.as_ref())
    }
}

impl Subscribe<AsyncClient> {
    /// Subscribes, and ends when the broker has agreed.
    ///
    /// # Errors
    /// As [`Client::subscribe`](crate::Client::subscribe).
    pub async fn start_async(self) -> Result<AsyncSubscription> {
        let (client, request) = self.into_request()?;
        let place = Place::ask(&client, &request).await?;
        Ok(AsyncSubscription { client, request, standing: Standing::Live(place), reader: Reader::default() })
    }
}

/// A subscription, as a stream of what it tells. Dropping it gives it up: the broker is told. It survives its connection, as a
/// [`Subscription`](crate::Subscription) does, and what isn't taken waits here within the same limits.
///
/// A future that waits for the next notice may be dropped: nothing is lost with it.
pub struct AsyncSubscription {
    client: AsyncClient,
    request: control::Subscribe,
    standing: Standing,
    reader: Reader,
}

enum Standing {
    Live(Place),
    /// The connection was lost; this ends with another one.
    Away(Pin<Box<dyn Future<Output = Result<Place>> + Send>>),
    /// Why, and whether the stream has said so.
    Ended {
        error: Error,
        is_told: bool,
    },
}

impl AsyncSubscription {
    /// What it subscribes to.
    #[must_use]
    pub fn pattern(&self) -> &Pattern {
        &self.request.pattern
    }

    /// Waits for the next notice. `None` after an error.
    pub async fn next(&mut self) -> Option<Result<Notice>> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Notice>>> {
        loop {
            match &mut self.standing {
                Standing::Live(place) => match ready!(place.connection.poll_event(context, place.id)) {
                    Ok(Taken::Event(place, event)) => {
                        if let Some(event) = self.reader.read(place, event) {
                            return Poll::Ready(Some(Ok(Notice::Event(event))));
                        }
                    }
                    Ok(Taken::Gap(lost)) => return Poll::Ready(Some(Ok(Notice::Gap(lost)))),
                    Ok(Taken::Cut) => self.end(overrun(&self.request)),
                    Err(loss) => self.lost(loss),
                },
                Standing::Away(back) => match ready!(back.as_mut().poll(context)) {
                    Ok(place) => {
                        self.standing = Standing::Live(place);
                        return Poll::Ready(Some(Ok(Notice::Resumed)));
                    }
                    Err(error) => self.end(error),
                },
                Standing::Ended { is_told: true, .. } => return Poll::Ready(None),
                Standing::Ended { error, is_told } => {
                    *is_told = true;
                    return Poll::Ready(Some(Err(error.clone())));
                }
            }
        }
    }

    fn lost(&mut self, loss: Loss) {
        if !self.client.line().may_come_back() {
            return self.end(Error::new(loss.code, loss.text));
        }
        let dead = match &self.standing {
            Standing::Live(place) => place.connection.clone(),
            Standing::Away(_) | Standing::Ended { .. } => self.client.connection(),
        };
        self.standing = Standing::Away(Box::pin(come_back(self.client.clone(), self.request.clone(), dead)));
    }

    fn end(&mut self, error: Error) {
        self.standing = Standing::Ended { error, is_told: false };
    }
}

/// Subscribes again, on a connection that another future has made or on one of its own, after 50 ms to 2 s.
async fn come_back(client: AsyncClient, request: control::Subscribe, mut dead: Arc<Connection>) -> Result<Place> {
    let (line, mut backoff) = (client.line(), Backoff::new());
    loop {
        line.await_successor(&dead, Instant::now() + backoff.pause()).await;
        let patience = Patience::new(Instant::now(), to_ms(CONNECT));
        let asked = match line.replace(&dead, patience).await {
            Ok(_) => Place::ask(&client, &request).await,
            Err(error) => Err(error),
        };
        match asked {
            Err(error) if is_passing(&error) && line.may_come_back() => dead = client.connection(),
            asked => return asked,
        }
    }
}

impl Stream for AsyncSubscription {
    type Item = Result<Notice>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(context)
    }
}

impl fmt::Debug for AsyncSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncSubscription").field("pattern", &self.request.pattern).finish_non_exhaustive()
    }
}

/// Where events of a subscription arrive. Dropping it gives the subscription up.
struct Place {
    connection: Arc<Connection>,
    id: Serial,
}

impl Place {
    /// Asks for a subscription, and waits until the broker has agreed.
    async fn ask(client: &AsyncClient, request: &control::Subscribe) -> Result<Self> {
        let operated = Operated::of::<operation::Subscribe>(request, Some(TIMEOUT))?;
        let ticket = client.calls().submit_call(&asking(&operated, request)).await?;
        let (connection, id) = ticket.into_id();
        let place = Self { connection, id }; // from here on it is given up should this future be dropped
        let patience = Patience::new(Instant::now(), to_ms(TIMEOUT));
        poll_fn(|context| place.connection.poll_end(context, id, patience)).await?;
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection.abandon(self.id);
        self.connection.unsubscribe(self.id);
    }
}
