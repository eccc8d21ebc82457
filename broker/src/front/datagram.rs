//! Datagrams: one frame each, a call. Only a sender bound to an abstract name can be answered.

use bytes::Bytes;
use ipc_protocol::{Frame, Identity, Message};

use crate::core::{Datagram, Moment, Outputs, ReturnAddress, Router};

/// A datagram arrived whole: decodes it and hands it to the router. Anything else than one whole frame is counted and dropped.
pub(crate) fn receive(
    router: &mut Router,
    now: Moment,
    bytes: Bytes,
    (sender, reply_to): (Identity, Option<ReturnAddress>),
    out: &mut Outputs,
) {
    let max_body = u32::try_from(router.limits().body_bytes).unwrap_or(u32::MAX);
    let message = Frame::from_datagram(bytes, max_body).ok().and_then(|frame| Message::decode(frame).ok());
    match message {
        Some(message) => router.datagram(now, Datagram { sender, reply_to, message }, out),
        None => router.datagram_malformed(),
    }
}
