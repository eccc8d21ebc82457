//! One socket and its session, for futures on the runtime tokio.
//!
//! # Who reads
//! One task for each connection, the [`driver`]: it reads, wakes the futures whose calls have ended, and writes what the socket did not
//! take at once. A future never waits for the socket itself, and no call has a task.
//!
//! # When frames leave
//! A call that is the only one under way leaves at once. What is sent while others are under way gathers, and the driver writes it at
//! its next turn: many futures that are polled one after the other cost one write.
//!
//! # Locks
//! There is one lock for each connection, and every system call under it is non-blocking. It is never held while a future is polled, and
//! wakers are called and dropped after its release ([`locked`](super::locked)), for they may run code that comes back here.
//!
//! # No lost wake-up
//! A future leaves its waker in the critical section that has found nothing for it, and what ends a call takes the waker out under the same
//! lock. The driver leaves its own before it looks at what there is to do.

mod connection;
mod driver;
mod flows;
mod holding;
mod state;
mod ticket;
mod wire;

pub(crate) use self::{connection::Connection, ticket::Ticket};
