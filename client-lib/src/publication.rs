//! An event whose body is encoded: what the typed ones are made of.

use std::time::Duration;

use bytes::Bytes;
use ipc_protocol::{
    Encoding, ErrorCode, FieldTag, Routing, RoutingBuilder, Topic as TopicName,
    limits::{MAX_BODY, MAX_NAME},
};
use serde::Serialize;

use crate::{
    error::{Error, Result},
    session::{
        Outgoing, Payload,
        outgoing::{Answer, What, encode, misnamed},
        patience::to_ms,
    },
    topic::Topic,
};

/// An event to publish, with a body that is already encoded.
///
/// ```
/// use ipc_client::Publication;
///
/// let line = Publication::new("log.web".parse()?, "GET /").retained();
/// let reading = Publication::json("home.kitchen.temperature".parse()?, &21.5)?;
/// # assert!(line.retained && !reading.retained);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Publication {
    /// What the event is about.
    pub topic: TopicName,
    /// How the body is encoded.
    pub encoding: Encoding,
    /// The body, up to [`MAX_BODY`](crate::limits::MAX_BODY) bytes.
    pub body: Bytes,
    /// Whether the broker keeps the event as the last of its topic, for subscribers that come later. An empty one is kept by forgetting
    /// the one before.
    pub retained: bool,
    /// W3C trace context (`traceparent`), passed on untouched; up to 255 bytes.
    pub trace: Option<String>,
    /// How long the broker's answer is waited for: 1 ms to 1 h, other values are moved to the nearer end. Without it for as long as the
    /// broker's default allows a call.
    pub timeout: Option<Duration>,
}

impl Publication {
    /// An event of plain bytes.
    #[must_use]
    pub fn new(topic: TopicName, body: impl Into<Bytes>) -> Self {
        Self { topic, encoding: Encoding::BYTES, body: body.into(), retained: false, trace: None, timeout: None }
    }

    /// An event in JSON.
    ///
    /// # Errors
    /// `invalid` or `too_large` if the value can't be encoded.
    pub fn json<T: Serialize + ?Sized>(topic: TopicName, event: &T) -> Result<Self> {
        Ok(Self::new(topic, encode(Encoding::JSON, &event)?).encoding(Encoding::JSON))
    }

    /// An event of a typed topic, in JSON.
    ///
    /// # Errors
    /// As [`Publication::json`]; `usage` if the name of the topic isn't valid.
    pub fn of<T: Topic>(topic: &T, event: &T::Event) -> Result<Self> {
        Self::json(name_of(topic)?, event)
    }

    /// Clears a topic: its last event is forgotten. Subscribers receive the empty event.
    #[must_use]
    pub fn clearing(topic: TopicName) -> Self {
        Self::new(topic, Bytes::new()).retained()
    }

    /// Says how the body is encoded.
    #[must_use]
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Has the broker keep it as the last event of its topic.
    #[must_use]
    pub fn retained(mut self) -> Self {
        self.retained = true;
        self
    }

    /// Passes a trace context on.
    #[must_use]
    pub fn trace(mut self, trace: impl Into<String>) -> Self {
        self.trace = Some(trace.into());
        self
    }

    /// Limits how long the broker's answer is waited for.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Its routing section.
    ///
    /// # Errors
    /// `usage` for a trace context that is too long, `too_large` for such a body.
    pub(crate) fn routing(&self) -> Result<Routing> {
        if self.body.len() > MAX_BODY as usize {
            let text = format!("the body has {} bytes, the limit is {MAX_BODY}", self.body.len());
            return Err(Error::new(ErrorCode::TOO_LARGE, text));
        }
        let mut routing = RoutingBuilder::default();
        if let Some(trace) = &self.trace {
            if trace.len() > MAX_NAME {
                let text = format!("the trace context has {} bytes, the limit is {MAX_NAME}", trace.len());
                return Err(Error::new(ErrorCode::USAGE, text));
            }
            routing.put(FieldTag::TRACE, trace.as_bytes());
        }
        Ok(routing.put(FieldTag::TOPIC, self.topic.as_str().as_bytes()).build())
    }

    pub(crate) fn outgoing<'a>(&self, routing: &'a Routing, answer: Answer) -> Outgoing<'a> {
        Outgoing {
            what: What::Event { retained: self.retained },
            routing,
            encoding: self.encoding,
            timeout_ms: self.timeout.map_or(0, to_ms),
            body: Payload::Shared(self.body.clone()),
            answer,
            parent: None,
        }
    }
}

/// The name of a typed topic.
///
/// # Errors
/// `usage` if it isn't valid.
pub(crate) fn name_of<T: Topic>(topic: &T) -> Result<TopicName> {
    let name = topic.name();
    TopicName::parse(&name).map_err(|error| misnamed("topic", &name, &error))
}
