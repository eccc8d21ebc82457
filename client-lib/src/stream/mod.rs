//! Calls with streams: what a caller holds, and the halves that a service has of them.
//!
//! ```text
//! StreamCall = Uplink (items of the caller) + Downlink (items of the service, then the reply)        the caller
//! Sink (items of the service) + Items (items of the caller)                                          the service
//! ```
//!
//! Each has a half of bytes inside: [`sending::Sending`] waits for credit, [`receiving::Receiving`] gives credit as items are taken.

mod call;
mod course;
mod downlink;
mod items;
mod place;
mod receiving;
mod sending;
mod sink;
mod start;
mod uplink;

pub use self::{
    call::{StreamCall, StreamCallBytes},
    downlink::{Downlink, DownlinkBytes},
    items::{Items, ItemsBytes},
    sink::{Sink, SinkBytes},
    uplink::{Uplink, UplinkBytes},
};
#[cfg(feature = "tokio")]
pub(crate) use self::{
    course::{Again, At, Carrier, Course, sign_of},
    receiving::read,
};
pub(crate) use self::{place::Place, receiving::Receiving, sending::Sending};
