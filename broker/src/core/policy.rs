//! Who may do what: the one place where an operation is authorised, from the kernel's word about the caller alone.

use ipc_protocol::Identity;
use serde::{Deserialize, Serialize};

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation<'a> {
    /// Call a service, or one peer.
    Call(&'a [u8]),
    /// Offer a name.
    Own(&'a str),
    /// Ask the broker about its state.
    Inspect,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Allowed,
    /// It may not.
    Denied,
}

/// The policy without a policy file: the broker's own user and root may do everything, others nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    owner: Option<u32>,
}

impl Policy {
    /// The policy of a broker that runs as `owner`; with `None` root alone may do anything.
    #[must_use]
    pub fn new(owner: impl Into<Option<u32>>) -> Self {
        Self { owner: owner.into() }
    }

    /// Whether `who` may do `what`.
    #[must_use]
    pub fn verdict(&self, who: &Identity, what: Operation<'_>) -> Verdict {
        match what {
            Operation::Call(_) | Operation::Own(_) | Operation::Inspect if self.is_trusted(who.uid) => Verdict::Allowed,
            Operation::Call(_) | Operation::Own(_) | Operation::Inspect => Verdict::Denied,
        }
    }

    /// Whether the user is the broker's own or root.
    #[must_use]
    pub fn is_trusted(&self, uid: u32) -> bool {
        uid == 0 || Some(uid) == self.owner
    }
}
