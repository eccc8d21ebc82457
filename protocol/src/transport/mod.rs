//! Sockets: addresses, connecting and binding, reading into an inbox, writing from an outbox. EINTR is retried here, EAGAIN is a
//! state and not an error, and every descriptor has one owner and is close-on-exec.

mod address;
pub mod credentials;
pub mod fd;
mod inbox;
pub mod inherited;
mod outbox;
pub mod poll;
mod rights;
pub mod socket;
mod wake;

pub use address::{Address, AddressError};
pub use inbox::{Inbox, ReadBuffer, Received, receive_into};
pub use outbox::{Flushed, Outbox, Pool};
pub use rights::Rights;
pub use wake::Bell;
