//! The publishing side of an async client.

use super::client::AsyncClient;
use crate::{
    error::Result,
    publication::{Publication, name_of},
    publish::subscribers,
    session::outgoing::Answer,
    topic::Topic,
};

impl AsyncClient {
    /// Publishes an event, and tells the number of subscriptions that it was sent to.
    ///
    /// # Errors
    /// As [`Client::publish`](crate::Client::publish).
    pub async fn publish<T: Topic>(&self, topic: &T, event: &T::Event) -> Result<u32> {
        self.publish_bytes(&Publication::of(topic, event)?).await
    }

    /// Publishes an event and has the broker keep it as the last of its topic, for subscribers that come later.
    ///
    /// # Errors
    /// As [`Client::retain`](crate::Client::retain).
    pub async fn retain<T: Topic>(&self, topic: &T, event: &T::Event) -> Result<u32> {
        self.publish_bytes(&Publication::of(topic, event)?.retained()).await
    }

    /// Has the broker forget the last event of a topic. Subscribers receive an event without a body.
    ///
    /// # Errors
    /// As [`Client::publish`](crate::Client::publish).
    pub async fn clear<T: Topic>(&self, topic: &T) -> Result<u32> {
        self.publish_bytes(&Publication::clearing(name_of(topic)?)).await
    }

    /// Publishes an event whose body is already encoded, as [`AsyncClient::publish`] does.
    ///
    /// # Errors
    /// As [`Client::publish_bytes`](crate::Client::publish_bytes).
    pub async fn publish_bytes(&self, publication: &Publication) -> Result<u32> {
        let routing = publication.routing()?;
        subscribers(&self.calls().exchange(&publication.outgoing(&routing, Answer::Wanted)).await?)
    }

    /// Publishes an event and waits for nothing but room: whether the broker takes it isn't told. See [`AsyncClient::flush`].
    ///
    /// # Errors
    /// As [`Client::announce`](crate::Client::announce).
    pub async fn announce<T: Topic>(&self, topic: &T, event: &T::Event) -> Result<()> {
        self.announce_bytes(&Publication::of(topic, event)?).await
    }

    /// Publishes an event whose body is already encoded, as [`AsyncClient::announce`] does.
    ///
    /// # Errors
    /// As [`Client::announce`](crate::Client::announce).
    pub async fn announce_bytes(&self, publication: &Publication) -> Result<()> {
        let routing = publication.routing()?;
        self.calls().submit_call(&publication.outgoing(&routing, Answer::Unheard)).await.map(drop)
    }
}
