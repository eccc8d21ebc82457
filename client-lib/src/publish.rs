//! The publishing side of a client.

use std::time::Instant;

use ipc_protocol::control::Published;

use crate::{
    client::Client,
    error::Result,
    publication::{Publication, name_of},
    request::Response,
    session::outgoing::{Answer, decode_reply},
    ticket::Ticket,
    topic::Topic,
};

impl Client {
    /// Publishes an event, and returns the number of subscriptions that it was sent to. Each receives it at most once, and a publisher
    /// waits for none of them, only for the broker's answer.
    ///
    /// ```
    /// # use std::borrow::Cow;
    /// # use ipc_client::{Client, Notice, Topic};
    /// # struct Kitchen;
    /// # impl Topic for Kitchen {
    /// #     type Event = f64;
    /// #     fn name(&self) -> Cow<'_, str> {
    /// #         "home.kitchen.temperature".into()
    /// #     }
    /// # }
    /// # let broker = ipc_client::testing::broker()?;
    /// # let address = broker.address();
    /// let client = Client::connect_to(&address)?;
    /// let mut readings = client.subscribe("home.*.temperature")?;
    /// assert_eq!(client.publish(&Kitchen, &21.5)?, 1);
    /// let Some(Notice::Event(reading)) = readings.next().transpose()? else { panic!() };
    /// assert_eq!((reading.topic.as_str(), reading.decode::<f64>()?), ("home.kitchen.temperature", 21.5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The broker's refusal: `denied`, also for a topic of the broker's own; `too_large`. `broker_lost` if the connection ended
    /// before the broker said anything. `usage` if the name of the topic isn't valid, `invalid` if the event can't be encoded.
    pub fn publish<T: Topic>(&self, topic: &T, event: &T::Event) -> Result<u32> {
        self.publish_bytes(&Publication::of(topic, event)?)
    }

    /// Publishes an event and has the broker keep it as the last of its topic, for subscribers that come later.
    ///
    /// # Errors
    /// As [`Client::publish`]; `busy` past the limit of what is kept for one user: it isn't published then.
    pub fn retain<T: Topic>(&self, topic: &T, event: &T::Event) -> Result<u32> {
        self.publish_bytes(&Publication::of(topic, event)?.retained())
    }

    /// Has the broker forget the last event of a topic. Subscribers receive an event without a body.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub fn clear<T: Topic>(&self, topic: &T) -> Result<u32> {
        self.publish_bytes(&Publication::clearing(name_of(topic)?))
    }

    /// Publishes an event and waits for nothing: whether the broker takes it isn't told. Events leave in the order in which they are
    /// announced, with what is called and published on the same client; while it is [corked](Client::cork) they gather.
    ///
    /// Blocks only while the broker does not take what is written. That may be faster than some subscribers are: they lose events, and
    /// are told how many. [`Client::publish`] waits for the broker's answer, which leaves subscribers more time; what none of them
    /// may lose is an item of a [stream](Client::stream).
    ///
    /// # Errors
    /// `unavailable`, `denied` or `broker_lost` if there is no connection, `usage` if the name of the topic isn't valid, `invalid` or
    /// `too_large` if the event can't be encoded.
    pub fn announce<T: Topic>(&self, topic: &T, event: &T::Event) -> Result<()> {
        self.announce_bytes(&Publication::of(topic, event)?)
    }

    /// Publishes an event whose body is already encoded, as [`Client::publish`] does.
    ///
    /// # Errors
    /// As [`Client::publish`], and as [`Client::retain`] for one that is to be kept.
    pub fn publish_bytes(&self, publication: &Publication) -> Result<u32> {
        let routing = publication.routing()?;
        let outgoing = publication.outgoing(&routing, Answer::Wanted);
        let response = self.calls().exchange(self.connection(), Instant::now(), &outgoing)?;
        subscribers(&response)
    }

    /// Publishes an event and does not wait for the broker's answer: for many of them, each of which is answered.
    ///
    /// Blocks only while the broker does not take what is written.
    ///
    /// # Errors
    /// As [`Client::announce`].
    pub fn start_publishing(&self, publication: &Publication) -> Result<Publishing> {
        let routing = publication.routing()?;
        self.calls().submit(&publication.outgoing(&routing, Answer::Wanted)).map(Publishing)
    }

    /// Publishes an event whose body is already encoded, as [`Client::announce`] does.
    ///
    /// # Errors
    /// As [`Client::announce`].
    pub fn announce_bytes(&self, publication: &Publication) -> Result<()> {
        let routing = publication.routing()?;
        self.calls().submit(&publication.outgoing(&routing, Answer::Unheard)).map(drop)
    }
}

/// An event that the broker hasn't answered yet. Dropping it doesn't take the event back.
#[must_use = "whether the broker took the event is in its answer"]
#[derive(Debug)]
pub struct Publishing(Ticket);

impl Publishing {
    /// Waits for the broker's answer: the number of subscriptions that the event was sent to.
    ///
    /// # Errors
    /// As [`Client::publish_bytes`].
    pub fn wait(mut self) -> Result<u32> {
        subscribers(&self.0.wait(None)?)
    }
}

/// Reads the answer to an event.
pub(crate) fn subscribers(response: &Response) -> Result<u32> {
    decode_reply::<Published>("ipc", "event", response).map(|published| published.subscribers)
}
