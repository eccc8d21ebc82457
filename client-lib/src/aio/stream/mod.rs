//! Calls with streams for futures: their halves, on both sides.

mod call;
mod place;
mod receiving;
mod sending;
mod service;

pub use self::{
    call::{AsyncDownlink, AsyncStreamCall, AsyncUplink},
    service::{AsyncItems, AsyncSink},
};
pub(super) use self::{place::Place, receiving::Receiving, sending::Sending};
