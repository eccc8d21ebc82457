//! The pure core: messages and time in, messages out. It never touches a socket, file, process, clock, thread or lock.
//!
//! All state is in one owned, serialisable struct, the [`Router`]. The server feeds it what peers sent and carries out what it
//! puts into [`Outputs`]; tests feed it the same by hand, on a virtual clock (`tests/world.rs`).

mod accounts;
mod calls;
mod control;
mod counters;
mod datagrams;
mod deadlines;
mod ending;
mod event;
mod invariants;
mod limits;
mod moment;
mod names;
mod peers;
mod policy;
mod refusal;
mod registration;
mod router;
mod routing;
mod table;
mod watches;

pub use datagrams::{Datagram, ReturnAddress};
pub use event::{Event, NoPlace, Party};
pub use limits::{LimitError, Limits};
pub use moment::Moment;
pub use peers::PeerId;
pub use policy::{Operation, Policy, Verdict};
pub use router::{Output, Outputs, Router};
pub use table::Id;
