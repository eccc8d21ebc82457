//! The native dialect: binary frames on the stream socket.

use ipc_protocol::{Frame, Header, Kind, Message, Violation};

use crate::core::{Moment, Outputs, PeerId, Router};

/// A frame of a peer is whole: decodes it and hands it to the router.
pub(crate) fn receive(router: &mut Router, now: Moment, from: PeerId, frame: Frame, out: &mut Outputs) {
    let Header { kind, id, .. } = frame.header;
    match Message::decode(frame) {
        Ok(message) => router.receive(now, from, message, out),
        Err(Violation::Routing(error)) if kind == Kind::CALL && error.is_bad_name() => {
            router.receive_misnamed(from, id, &error, out);
        }
        Err(violation) => router.violate(from, &violation, out),
    }
}
