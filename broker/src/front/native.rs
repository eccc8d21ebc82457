//! The native dialect: binary frames on the stream socket.

use ipc_protocol::{Frame, Message};

use crate::core::{Moment, Outputs, PeerId, Router};

/// A frame of a peer is whole: decodes it and hands it to the router.
pub(crate) fn receive(router: &mut Router, now: Moment, from: PeerId, frame: Frame, out: &mut Outputs) {
    match Message::decode(frame) {
        Ok(message) => router.receive(now, from, message, out),
        Err(violation) => router.violate(from, &violation, out),
    }
}
