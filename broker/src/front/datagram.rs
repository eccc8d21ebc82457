//! Datagrams: one frame each, a call. Only a sender bound to an abstract name can be answered.

use bytes::Bytes;
use ipc_protocol::{Frame, Identity, wire::Message};

use crate::core::{Datagram, Input, ReturnAddress};

/// The message in a datagram. Anything but one whole frame is counted and dropped.
#[must_use]
pub fn decode<F>(bytes: Bytes, sender: Identity, reply_to: Option<ReturnAddress>) -> Input<'static, F> {
    let frame = Frame::from_datagram(bytes, u32::MAX).ok();
    match frame.and_then(|frame| Message::decode(frame).ok()) {
        Some(message) => Input::Datagram(Datagram { sender, reply_to, message }),
        None => Input::DatagramMalformed,
    }
}
