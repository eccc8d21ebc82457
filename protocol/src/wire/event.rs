//! Events: what is published on a topic, and how many of them a subscription has lost.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    body::Body,
    wire::{
        frame::Violation,
        header::{Encoding, Flags, Header, Kind},
        lengths::{body_len, check_section, fds, len_u16},
        routing::{FieldTag, Routing, RoutingBuilder, RoutingError},
    },
};

/// A published event: from a client to the broker, and from the broker to each subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event<F> {
    /// From a publisher: its number of this event, in one sequence with its calls. From the broker: the subscription.
    pub id: u64,
    /// Whether the publisher wants no answer.
    pub one_way: bool,
    /// From a publisher: the event is kept as the last of its topic. From the broker: it was kept.
    pub retained: bool,
    /// Encoding of the body.
    pub encoding: Encoding,
    /// The publisher's stamp as an encoded routing field, empty from client to broker.
    pub publisher: Bytes,
    /// Topic, sequence number, trace context.
    pub routing: Routing,
    /// The opaque body.
    pub body: Body<F>,
}

/// A subscription has lost events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The subscription.
    pub id: u64,
    /// The number of events lost between the one before and the one that follows.
    pub lost: u64,
}

impl<F> Event<F> {
    pub(crate) fn decode(header: &Header, section: Bytes, body: Body) -> Result<Self, Violation> {
        let mut routing = Routing::parse(section)?;
        let publisher = routing.split_caller().unwrap_or_default();
        if routing.field(FieldTag::TOPIC).is_none() {
            return Err(RoutingError::Missing(FieldTag::TOPIC.0).into());
        }
        check_section(&routing, !publisher.is_empty())?;
        Ok(Self {
            id: header.id,
            one_way: header.flags.contains(Flags::ONE_WAY),
            retained: header.flags.contains(Flags::RETAINED),
            encoding: header.encoding,
            publisher,
            routing,
            body: body.into_any(),
        })
    }

    /// The same event for a subscription. The bytes are shared; a body in a descriptor is left out.
    #[must_use]
    pub fn share(&self, id: u64) -> Self {
        let body = match &self.body {
            Body::Inline { bytes, pinned } => Body::Inline { bytes: bytes.clone(), pinned: *pinned },
            Body::Fd(_) => Body::default(),
        };
        let (publisher, routing) = (self.publisher.clone(), self.routing.clone());
        Self { id, one_way: false, retained: self.retained, encoding: self.encoding, publisher, routing, body }
    }

    /// The topic, empty only in an event that was built without one.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.routing.text(FieldTag::TOPIC).unwrap_or_default()
    }

    /// The number of the event among those of its publisher; none of a publisher without a connection.
    #[must_use]
    pub fn sequence(&self) -> Option<u64> {
        self.routing.number(FieldTag::SEQUENCE)
    }

    /// Copies out of a shared read buffer what lies in it.
    pub fn detach(&mut self) {
        if matches!(self.body, Body::Inline { pinned: true, .. }) {
            self.routing = self.routing.detached();
        }
        self.body.detach();
    }

    /// The header of its frame.
    #[must_use]
    pub fn header(&self) -> Header {
        let flag = |is_set: bool, flag: Flags| if is_set { flag } else { Flags::NONE };
        Header {
            flags: flag(self.one_way, Flags::ONE_WAY).with(flag(self.retained, Flags::RETAINED)),
            encoding: self.encoding,
            fds: fds(&self.body),
            routing_len: len_u16(self.routing.raw()) + len_u16(&self.publisher),
            body_len: body_len(&self.body),
            ..Header::new(Kind::EVENT, self.id)
        }
    }

    /// Appends the frame up to its body.
    #[inline]
    pub fn encode_head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.header().to_bytes());
        out.extend_from_slice(&self.publisher);
        out.extend_from_slice(self.routing.raw());
    }
}

impl Gap {
    pub(crate) fn decode(header: &Header, routing: &Routing) -> Result<Self, Violation> {
        let missing = RoutingError::Missing(FieldTag::COUNT.0);
        let lost = routing.number(FieldTag::COUNT).ok_or(missing)?;
        Ok(Self { id: header.id, lost })
    }

    pub(crate) fn head(self) -> (Header, Routing) {
        let routing = RoutingBuilder::default().put(FieldTag::COUNT, &self.lost.to_le_bytes()).build();
        (Header::new(Kind::GAP, self.id), routing)
    }
}
