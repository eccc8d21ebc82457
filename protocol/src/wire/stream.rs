//! Streams: a call whose request, or whose answer, is followed or preceded by items, which the receiver allows with credit.

use serde::{Deserialize, Serialize};

use crate::{
    body::Body,
    wire::{
        error::ErrorCode,
        frame::Violation,
        header::{Encoding, Flags, Header, Kind},
        lengths::{body_len, fds},
        routing::{FieldTag, Routing, RoutingBuilder, RoutingError},
    },
};

/// The streams of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Streams {
    /// Items of the caller follow the request.
    pub request: bool,
    /// Items of the service come before the answer.
    pub reply: bool,
}

/// One item of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element<F> {
    /// The call, in the numbering of the connection.
    pub id: u64,
    /// Whether this is the broker's number of a delivered call: the service sends or receives it.
    pub delivered: bool,
    /// Encoding of the body.
    pub encoding: Encoding,
    /// The opaque body.
    pub body: Body<F>,
}

/// The end of the items of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The call, in the numbering of the connection.
    pub id: u64,
    /// Why the items end; none if they are complete.
    pub error: Option<ErrorCode>,
    /// The caller's own code, with `app_error`.
    pub app_code: u32,
    /// What happened, in a sentence.
    pub text: String,
}

/// Items that the receiver takes, besides those that it has allowed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// The call, in the numbering of the connection.
    pub id: u64,
    /// Whether this is the broker's number of a delivered call: the service sends or receives it.
    pub delivered: bool,
    /// Their number.
    pub items: u32,
    /// The bytes of their bodies, together.
    pub bytes: u64,
}

impl Streams {
    /// An ordinary call.
    pub const NONE: Self = Self { request: false, reply: false };

    /// Whether there is any.
    #[must_use]
    pub const fn any(self) -> bool {
        self.request || self.reply
    }

    /// The streams that the flags of a call announce.
    #[must_use]
    pub const fn of(flags: Flags) -> Self {
        Self { request: flags.contains(Flags::REQUEST_STREAM), reply: flags.contains(Flags::REPLY_STREAM) }
    }

    pub(crate) const fn flags(self) -> Flags {
        let request = if self.request { Flags::REQUEST_STREAM } else { Flags::NONE };
        let reply = if self.reply { Flags::REPLY_STREAM } else { Flags::NONE };
        request.with(reply)
    }
}

impl<F> Element<F> {
    /// Takes the item out of its place, where an empty one stays.
    #[must_use]
    pub fn take(&mut self) -> Self {
        Self { body: std::mem::take(&mut self.body), ..*self }
    }

    #[inline]
    pub(crate) fn with(header: &Header, body: Body<F>) -> Self {
        Self { id: header.id, delivered: header.flags.contains(Flags::DELIVERED), encoding: header.encoding, body }
    }

    /// The header of its frame.
    #[must_use]
    #[inline]
    pub fn header(&self) -> Header {
        Header {
            flags: flags(self.delivered),
            encoding: self.encoding,
            fds: fds(&self.body),
            body_len: body_len(&self.body),
            ..Header::new(Kind::ITEM, self.id)
        }
    }
}

impl End {
    /// The end of a stream that is complete.
    #[must_use]
    pub fn complete(id: u64) -> Self {
        Self { id, error: None, app_code: 0, text: String::new() }
    }

    pub(crate) fn decode(header: &Header, routing: &Routing) -> Self {
        Self {
            id: header.id,
            error: (header.code != 0).then_some(ErrorCode(header.code)),
            app_code: header.detail,
            text: routing.text(FieldTag::TEXT).unwrap_or_default().to_owned(),
        }
    }

    pub(crate) fn header(&self) -> Header {
        let code = self.error.map_or(0, |error| error.0);
        Header { code, detail: self.app_code, ..Header::new(Kind::END, self.id) }
    }
}

impl Credit {
    pub(crate) fn decode(header: &Header, routing: &Routing) -> Result<Self, Violation> {
        let missing = RoutingError::Missing(FieldTag::COUNT.0);
        let bytes = routing.number(FieldTag::COUNT).ok_or(missing)?;
        let delivered = header.flags.contains(Flags::DELIVERED);
        Ok(Self { id: header.id, delivered, items: header.detail, bytes })
    }

    pub(crate) fn head(self) -> (Header, Routing) {
        let routing = RoutingBuilder::default().put(FieldTag::COUNT, &self.bytes.to_le_bytes()).build();
        (Header { flags: flags(self.delivered), detail: self.items, ..Header::new(Kind::CREDIT, self.id) }, routing)
    }
}

fn flags(delivered: bool) -> Flags {
    if delivered { Flags::DELIVERED } else { Flags::NONE }
}
