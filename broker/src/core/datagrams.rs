//! Where the answer to a datagram goes.

use serde::{Deserialize, Serialize};

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
