//! Datagrams as the core sees them, and where their answers go.

use ipc_protocol::{Identity, wire::Message};
use serde::{Deserialize, Serialize};

/// A datagram that held a message.
#[derive(Debug)]
pub struct Datagram<F> {
    /// Who sent it, as the kernel says.
    pub sender: Identity,
    /// Where an answer can go, if the sender is bound to an abstract name.
    pub reply_to: Option<ReturnAddress>,
    /// What it held.
    pub message: Message<F>,
}

/// The abstract name that the sender of a datagram is bound to (an autobound socket has one of five hex digits, unix(7)).
/// Nothing else is ever answered: a path that a sender chose may lead anywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnAddress(Box<[u8]>);

impl ReturnAddress {
    /// The address of a socket bound to the abstract name.
    #[must_use]
    pub fn from_abstract(name: &[u8]) -> Self {
        Self(name.into())
    }

    /// The abstract name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.0
    }
}
