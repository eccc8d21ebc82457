//! Datagrams as the core sees them, and where their answers go.

use ipc_protocol::{Identity, wire::Message};
use serde::{Deserialize, Serialize};

/// A datagram that held a message.
#[derive(Debug)]
pub struct Datagram<F> {
    /// The sender's identity, as the kernel reports it.
    pub sender: Identity,
    /// Where an answer can go, if the sender is bound to an abstract name.
    pub reply_to: Option<ReturnAddress>,
    /// Its content.
    pub message: Message<F>,
}

/// The abstract name that the sender of a datagram is bound to (an autobound socket has one of five hex digits, unix(7)).
/// No other address is answered, because a path that the sender chooses may lead anywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnAddress {
    name: Box<[u8]>,
    uid: u32,
}

impl ReturnAddress {
    /// The address of a user's socket that is bound to the abstract name.
    #[must_use]
    pub fn from_abstract(name: &[u8], uid: u32) -> Self {
        Self { name: name.into(), uid }
    }

    /// The user who sent from there.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The abstract name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }
}
