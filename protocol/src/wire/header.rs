//! The fixed 32-byte header of a frame: see docs/protocol.md, "Header".

use std::fmt;

use crate::wire::limits::HEADER_LEN;

/// First byte of each frame. 0xC1 occurs in no UTF-8 text, so a frame and a JSON line can't be confused.
pub(crate) const MAGIC: u8 = 0xC1;
/// The version this crate speaks. Hello and welcome are always sent in version 1, whatever they negotiate.
pub(crate) const VERSION: u8 = 1;

/// Defines a newtype over an integer of the wire with named values: an unknown value survives decoding and prints in hex.
macro_rules! wire_enum {
    ($(#[$meta:meta])* $name:ident: $int:ty { $($(#[$vmeta:meta])* $konst:ident = $value:literal => $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $int);

        impl $name {
            $($(#[$vmeta])* pub const $konst: Self = Self($value);)*

            /// The value's name, or `None` for one that this version doesn't know.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($value => Some($text),)* _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() { Some(name) => f.write_str(name), None => write!(f, "{:#x}", self.0) }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(self, f) }
        }
    };
}

wire_enum! {
    /// What a frame is.
    Kind: u8 {
        /// First frame of a client: versions and features it speaks.
        HELLO = 1 => "hello",
        /// The broker's answer to hello.
        WELCOME = 2 => "welcome",
        /// A request for a service.
        CALL = 3 => "call",
        /// The successful end of a call.
        REPLY = 4 => "reply",
        /// The unsuccessful end of a call.
        ERROR = 5 => "error",
        /// One item of a stream.
        ITEM = 6 => "item",
        /// The end of the items of a request.
        END = 7 => "end",
        /// How many more items the receiver takes.
        CREDIT = 8 => "credit",
        /// The answer of a call is no longer wanted.
        CANCEL = 9 => "cancel",
        /// A published event.
        EVENT = 10 => "event",
        /// How many events were lost before the next one.
        GAP = 11 => "gap",
        /// The last frame on a connection: why it is closed.
        GOODBYE = 12 => "goodbye",
        /// Asks for a pong with the same id.
        PING = 13 => "ping",
        /// Answers a ping.
        PONG = 14 => "pong",
    }
}

wire_enum! {
    /// How a body is encoded.
    Encoding: u8 {
        /// Bytes as they are; a typed method reads them as JSON.
        BYTES = 0 => "bytes",
        /// bincode 2, standard configuration.
        BINCODE = 1 => "bincode",
        /// JSON, UTF-8.
        JSON = 2 => "json",
    }
}

/// Flag bits of a frame. A receiver may ignore unknown bits of the low byte and must refuse unknown bits of the high byte.
#[derive(Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Flags(pub u16);

impl Flags {
    /// No bit set.
    pub const NONE: Self = Self(0);
    /// On an error: no byte of the request ever reached a service, so a retry cannot run it twice.
    pub const RETRY_SAFE: Self = Self(1 << 0);
    /// On an event: it is kept as the last of its topic, or was kept.
    pub const RETAINED: Self = Self(1 << 1);
    /// On an item or credit: `id` is the broker's number of a delivered call, not the caller's own.
    pub const DELIVERED: Self = Self(1 << 2);
    /// On a call or an event: the sender wants no reply. Refusals are still answered.
    pub const ONE_WAY: Self = Self(1 << 8);
    /// On a call: the request is followed by items.
    pub const REQUEST_STREAM: Self = Self(1 << 9);
    /// On a call: the caller takes items before the reply.
    pub const REPLY_STREAM: Self = Self(1 << 10);
    /// Reserved, on a call: the caller asks for a direct channel to the service.
    pub const DIRECT: Self = Self(1 << 11);
    /// Reserved: the body is in the first descriptor, a sealed memfd.
    pub const BODY_IN_FD: Self = Self(1 << 12);

    const MUST_UNDERSTAND: u16 = 0xFF00;
    const UNDERSTOOD: u16 = Self::ONE_WAY.with(Self::REQUEST_STREAM).with(Self::REPLY_STREAM).0;

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of bits.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The must-understand bits that this version doesn't know.
    #[must_use]
    pub const fn not_understood(self) -> Self {
        Self(self.0 & Self::MUST_UNDERSTAND & !Self::UNDERSTOOD)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

/// The header of a frame, little-endian on the wire. The meaning of `code`, `time_ms` and `detail` depends on the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Header {
    /// Protocol version of the frame.
    pub version: u8,
    /// What kind of frame it is.
    pub kind: Kind,
    /// Encoding of the body.
    pub encoding: Encoding,
    /// Flag bits; which of them mean something depends on the kind.
    pub flags: Flags,
    /// Descriptors that travel with the frame.
    pub fds: u8,
    /// The call (or ping) that the frame belongs to; never reused on a connection.
    pub id: u64,
    /// Bytes of the body.
    pub body_len: u32,
    /// Bytes of the routing section.
    pub routing_len: u16,
    /// Error number of an error, cancel, goodbye or end; otherwise 0.
    pub code: u16,
    /// Milliseconds left of a call's deadline; 0 means the default.
    pub time_ms: u32,
    /// The application's own code in an `app_error`; the items of a credit; otherwise 0.
    pub detail: u32,
}

impl Header {
    /// A header of `kind` for `id` in this crate's version, everything else zero.
    #[must_use]
    pub fn new(kind: Kind, id: u64) -> Self {
        Self { version: VERSION, kind, id, ..Self::default() }
    }

    /// Bytes of the whole frame.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        HEADER_LEN + usize::from(self.routing_len) + self.body_len as usize
    }

    /// The header as it goes on the wire.
    #[must_use]
    #[inline]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0] = MAGIC;
        out[1] = self.version;
        out[2] = self.kind.0;
        out[3] = self.encoding.0;
        out[4..6].copy_from_slice(&self.flags.0.to_le_bytes());
        out[6] = self.fds;
        // out[7] is reserved and zero.
        out[8..16].copy_from_slice(&self.id.to_le_bytes());
        out[16..20].copy_from_slice(&self.body_len.to_le_bytes());
        out[20..22].copy_from_slice(&self.routing_len.to_le_bytes());
        out[22..24].copy_from_slice(&self.code.to_le_bytes());
        out[24..28].copy_from_slice(&self.time_ms.to_le_bytes());
        out[28..32].copy_from_slice(&self.detail.to_le_bytes());
        out
    }

    /// Reads the fields; nothing is checked but what the fixed size already proves. `None` if the first byte is not the magic.
    #[must_use]
    #[inline]
    pub fn from_bytes(b: &[u8; HEADER_LEN]) -> Option<Self> {
        if b[0] != MAGIC {
            return None;
        }
        Some(Self {
            version: b[1],
            kind: Kind(b[2]),
            encoding: Encoding(b[3]),
            flags: Flags(u16::from_le_bytes([b[4], b[5]])),
            fds: b[6],
            id: u64::from_le_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]),
            body_len: u32::from_le_bytes([b[16], b[17], b[18], b[19]]),
            routing_len: u16::from_le_bytes([b[20], b[21]]),
            code: u16::from_le_bytes([b[22], b[23]]),
            time_ms: u32::from_le_bytes([b[24], b[25], b[26], b[27]]),
            detail: u32::from_le_bytes([b[28], b[29], b[30], b[31]]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_survives_a_round_trip() {
        let header = Header {
            version: 1,
            kind: Kind::ERROR,
            encoding: Encoding::JSON,
            flags: Flags(0x1234),
            fds: 3,
            id: 0x0102_0304_0506_0708,
            body_len: 0xDEAD_BEEF,
            routing_len: 0xCAFE,
            code: 77,
            time_ms: 30_000,
            detail: 63,
        };
        assert_eq!(Header::from_bytes(&header.to_bytes()), Some(header));
    }

    #[test]
    fn unknown_values_print_in_hex() {
        assert_eq!(Kind(0xEE).to_string(), "0xee");
        assert_eq!(Encoding::BINCODE.to_string(), "bincode");
    }

    #[test]
    fn reserved_flags_are_not_yet_understood() {
        assert_eq!(Flags::ONE_WAY.with(Flags::RETRY_SAFE).not_understood(), Flags::NONE);
        assert_eq!(Flags::DIRECT.with(Flags::ONE_WAY).not_understood(), Flags::DIRECT);
        assert_eq!(Flags(0x00FE).not_understood(), Flags::NONE);
    }
}
