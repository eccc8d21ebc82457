//! The native dialect: binary frames on the stream socket.

use bytes::Bytes;
use ipc_protocol::{
    Decoder, Header, Incoming as Decoded, Kind, Routing, Violation,
    wire::{Message, limits::MAX_BODY},
};
use serde::{Deserialize, Serialize};

use super::{Incoming, Sheet};
use crate::core::Begun;

/// Frames of one connection.
#[derive(Debug, Serialize, Deserialize)]
pub struct Inlet {
    decoder: Decoder,
    /// The routing section of the last call.
    last: Routing,
    /// Whether a frame is being skipped.
    skipping: bool,
}

impl Inlet {
    pub(super) fn new() -> Self {
        Self { decoder: Decoder::new(u32::MAX), last: Routing::default(), skipping: false } // the core limits bodies
    }

    #[inline]
    pub(super) fn feed(&mut self, bytes: Bytes) {
        self.decoder.feed(bytes);
    }

    #[inline]
    pub(super) fn next<F>(&mut self, into: &mut Message<F>) -> Result<Option<Incoming>, Violation> {
        if self.skipping && self.decoder.has_skipped() {
            self.skipping = false;
            return Ok(Some(Incoming::Skipped)); // before what comes behind it, whose time is its own
        }
        if let Some(frame) = self.decoder.whole()
            && into.decode_checked(frame, &self.last)
        {
            return Ok(Some(Incoming::Message));
        }
        if self.decoder.is_empty() { Ok(None) } else { self.next_checked(into) }
    }

    fn next_checked<F>(&mut self, into: &mut Message<F>) -> Result<Option<Incoming>, Violation> {
        Ok(match self.decoder.next()? {
            None => None,
            Some(Decoded::Frame(frame)) => {
                let Header { kind, id, .. } = frame.header;
                match into.decode_into(frame, &mut self.last) {
                    Ok(()) => Some(Incoming::Message),
                    Err(Violation::Routing(error))
                        if matches!(kind, Kind::CALL | Kind::EVENT) && error.is_bad_name() =>
                    {
                        Some(Incoming::Misnamed { id, error })
                    }
                    Err(violation) => return Err(violation),
                }
            }
            Some(Decoded::Begun(header) | Decoded::TooLarge(header)) => {
                Some(Incoming::Begun(Begun::new(&header, self.decoder.held())))
            }
        })
    }

    pub(super) fn skip(&mut self) {
        self.decoder.skip();
        self.skipping = true;
    }

    pub(super) fn decoder(&mut self) -> &mut Decoder {
        &mut self.decoder
    }

    pub(super) fn partial(&self) -> Option<usize> {
        self.decoder.mid_frame().then(|| self.held())
    }

    pub(super) fn held(&self) -> usize {
        self.decoder.held()
    }
}

/// Copies everything but a long body, which is referenced.
#[inline]
pub(super) fn encode<F>(message: &Message<F>, sheet: &mut Sheet) {
    message.encode_head(sheet.bytes());
    if let Some(body) = message.body() {
        if body.len() <= COPIED {
            sheet.bytes().extend_from_slice(body);
        } else {
            sheet.refer(body.bytes());
        }
    }
}

/// Bodies up to this length are copied after their header. A reference costs an entry in the vector that the kernel reads, and two
/// atomic counts: 64 calls of 64 bytes took a sixth longer with references. From a few hundred bytes on the copy costs more.
const COPIED: usize = 256;
const _: () = assert!(MAX_BODY as usize > COPIED);
