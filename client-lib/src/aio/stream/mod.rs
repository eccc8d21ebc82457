//! Calls with streams for futures: their halves, on both sides.

mod bytes;
mod call;
mod place;
mod receiving;
mod sending;
mod service;

use std::sync::Arc;

use ipc_protocol::Streams;

pub use self::{
    bytes::{AsyncDownlinkBytes, AsyncItemsBytes, AsyncSinkBytes, AsyncStreamCallBytes, AsyncUplinkBytes},
    call::{AsyncDownlink, AsyncStreamCall, AsyncUplink},
    service::{AsyncItems, AsyncSink},
};
pub(super) use self::{place::Place, receiving::Receiving, sending::Sending};
use crate::{
    link::tokio::Connection,
    stream::{Again, At},
};

/// The halves of a call that was started, and may be started again.
fn opened(at: At<Connection>, again: Option<Again<Connection>>, streams: Streams) -> (Sending, Receiving) {
    let place = Arc::new(Place::of_caller(at, again));
    let mut sending = Sending::new(place.clone());
    if !streams.request {
        sending.finish();
    }
    (sending, Receiving::new(place))
}
