//! The pure core: inputs and time in, outputs out. It never touches a socket, file, process, clock, thread or lock.
//!
//! All state is in one owned, serialisable struct, the [`Router`]. The server passes it inputs and carries out its [`Outputs`]. Tests
//! do the same by hand, with a virtual clock (`tests/world`).
//!
//! ```text
//! ids, moment, table, list, wheel        the parts of tables and deadlines
//! limits, accounts, policy, counters     how much, at whose charge, with what permission
//! peers, names, calls, watches, locks    the tables
//! subscriptions, topics, retained        who receives which events; the kept ones
//! item, input, output, event, refusal    what comes in and goes out
//! post, assembly                         sending and charging; incomplete frames
//! turns, visits                          whose turn it is; who connects too often
//! switchboard, ending, registration      calls from acceptance to end
//! publishing                             events, from their publisher to the subscriptions
//! streams, streaming                     items and credit of a call
//! locking                                locks, from who holds them to who waits
//! routing, answer, control               targets; the broker's own service
//! router, requests, frames               everything together
//! ```

mod accounts;
mod alarms;
mod answer;
mod assembly;
mod calls;
mod control;
mod counters;
mod datagrams;
mod ending;
mod event;
mod footprint;
mod frames;
mod guarantee;
mod ids;
mod input;
mod invariants;
mod item;
mod limits;
mod list;
mod locking;
mod locks;
mod moment;
mod names;
mod output;
mod peers;
mod pending;
mod policy;
mod post;
mod publishing;
mod refusal;
mod registration;
mod requests;
mod retained;
mod router;
mod routing;
mod streaming;
mod streams;
mod subscriptions;
mod switchboard;
mod table;
mod tidying;
mod topics;
mod turns;
mod uses;
mod visits;
mod watches;
mod wheel;

pub use datagrams::{Datagram, ReturnAddress};
pub use event::{Event, NoPlace, Party};
pub use ids::{Id, OfPeer, PeerId};
pub use input::{Begun, Input, Shed};
pub use item::{Class, Item, Keep};
pub use limits::{LimitError, Limits};
pub use moment::Moment;
pub use output::{Output, Outputs, Precedence};
pub use policy::{Effect, Operation, Policy, Request, Rule, Verdict};
pub use router::Router;
pub use turns::Turn;
