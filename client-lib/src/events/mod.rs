//! The subscribing side of a client: what it is told, and how it comes back after the broker died.

mod notice;
mod place;
mod subscribe;
mod subscription;
mod watch;
mod watched;

#[cfg(feature = "tokio")]
pub(crate) use self::{
    notice::Reader,
    place::{TIMEOUT, asking},
    subscription::{is_passing, overrun},
};

pub use self::{
    notice::{Event, Notice},
    subscribe::Subscribe,
    subscription::Subscription,
    watched::Watched,
};
