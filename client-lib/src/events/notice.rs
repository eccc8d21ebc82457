//! What a subscription tells.

use std::sync::Arc;

use bytes::Bytes;
use ipc_protocol::{Encoding, ErrorCode, FieldTag, Identity, Retry, Topic as TopicName, codec};
use serde::de::DeserializeOwned;

use crate::{
    error::{Error, Result},
    service::Caller,
};

/// What a [`Subscription`](crate::Subscription) tells, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// An event.
    Event(Event),
    /// This number of events was lost here, at the broker or in this program, because they weren't taken in time.
    Gap(u64),
    /// The connection was lost, and there is another one. What was published meanwhile is lost, and isn't counted.
    Resumed,
}

/// A published event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// What it is about.
    pub topic: TopicName,
    /// The publisher's number of it: 1 for the first event of a connection, and one more for each. None of an event that came by datagram,
    /// or from the broker itself.
    pub sequence: Option<u64>,
    /// Who published it, as the broker says. `None`: the broker itself.
    pub publisher: Option<Arc<Caller>>,
    /// Whether the broker had kept it: it was published before the subscription.
    pub retained: bool,
    /// How the body is encoded.
    pub encoding: Encoding,
    /// The body. Empty for a topic that was cleared.
    pub body: Bytes,
    /// W3C trace context (`traceparent`), as the publisher sent it.
    pub trace: Option<String>,
    /// Its place among the events of all subscriptions on one connection: those that came later have higher ones. For a program that has
    /// several subscriptions and wants their events in one order.
    pub place: u64,
}

impl Event {
    /// Reads the body: JSON, plain bytes, which are read as JSON, or bincode.
    ///
    /// # Errors
    /// `invalid` with a text that names the field, `unsupported_encoding` for any other encoding.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        codec::decode(self.encoding, &self.body).map_err(|error| {
            let code = match error {
                codec::CodecError::UnknownEncoding(_) => ErrorCode::UNSUPPORTED_ENCODING,
                _ => ErrorCode::INVALID,
            };
            let text = format!("the event on {} is not what this program expects: {error}", self.topic);
            Error::new(code, text).with_retry(Retry::Safe)
        })
    }
}

/// Reads events as they came. Most have the same publisher as the one before.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    stamp: Bytes,
    publisher: Option<Arc<Caller>>,
}

impl Reader {
    /// `None` for an event that no broker sends: its topic or its publisher isn't one.
    pub(crate) fn read(&mut self, place: u64, event: ipc_protocol::Event) -> Option<Event> {
        if event.publisher != self.stamp {
            self.publisher = match event.publisher.is_empty() {
                true => None,
                false => {
                    let (identity, peer) = Identity::from_stamp(&event.publisher).ok()?;
                    Some(Arc::new(Caller { identity, peer }))
                }
            };
            self.stamp = event.publisher.clone();
        }
        Some(Event {
            topic: TopicName::parse(event.topic()).ok()?,
            sequence: event.sequence(),
            publisher: self.publisher.clone(),
            retained: event.retained,
            encoding: event.encoding,
            trace: event.routing.text(FieldTag::TRACE).map(str::to_owned),
            body: event.body.into_bytes(),
            place,
        })
    }
}
