//! Calls with streams for futures: their halves, on both sides.

mod bytes;
mod call;
mod place;
mod receiving;
mod sending;
mod service;

use std::sync::Arc;

use ipc_protocol::{Encoding, Streams};

pub use self::{
    bytes::{AsyncDownlinkBytes, AsyncItemsBytes, AsyncSinkBytes, AsyncStreamCallBytes, AsyncUplinkBytes},
    call::{AsyncDownlink, AsyncStreamCall, AsyncUplink},
    service::{AsyncItems, AsyncSink},
};
pub(super) use self::{place::Place, receiving::Receiving, sending::Sending};
use crate::link::tokio::Ticket;

/// The halves of a call that was started.
fn opened(ticket: Ticket, timeout_ms: u32, encoding: Encoding, streams: Streams) -> (Sending, Receiving) {
    let (connection, id) = ticket.into_id();
    let place = Arc::new(Place::of_caller(connection, id, timeout_ms));
    let mut sending = Sending::new(place.clone(), encoding);
    if !streams.request {
        sending.finish();
    }
    (sending, Receiving::new(place))
}
