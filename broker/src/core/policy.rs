//! Who may do what, and by which rule, given the caller's identity from the kernel and the resolved target.

use std::fmt;

use ipc_protocol::Identity;
use serde::{Deserialize, Serialize};

/// A question to the policy. Its target is resolved: a rule about `calc` sees `calc`, whether the caller asked for `calc.add` or
/// `@17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The caller, as the kernel reports it.
    pub identity: &'a Identity,
    /// The operation that it asks for.
    pub operation: Operation,
    /// The service that it is about.
    pub service: &'a [u8],
    /// The method, or empty.
    pub method: &'a [u8],
    /// The topic, or the pattern of topics, or empty.
    pub topic: &'a [u8],
}

/// The operations that need permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Call a service or a peer.
    Call,
    /// Offer a name.
    Own,
    /// Take a lock.
    Lock,
    /// Publish on a topic.
    Publish,
    /// Receive the events of a pattern of topics.
    Subscribe,
    /// Receive the broker's own events.
    Inspect,
}

/// The policy's answer, and the rule that it follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The answer.
    pub effect: Effect,
    /// The rule.
    pub by: Rule,
}

/// The answer of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// The operation is allowed.
    Allow,
    /// The operation is denied.
    Deny,
}

/// A rule of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Rule {
    /// Root may do everything.
    Root,
    /// The broker's own user may do everything.
    Owner,
    /// What no rule allows is denied.
    Default,
}

/// The policy without a policy file: the broker's own user and root may do everything, others nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    owner: Option<u32>,
}

impl Policy {
    /// The policy of a broker that runs as `owner`. With `None` only root may do anything.
    #[must_use]
    pub fn new(owner: impl Into<Option<u32>>) -> Self {
        Self { owner: owner.into() }
    }

    /// Whether the operation is allowed.
    #[must_use]
    pub fn verdict(&self, request: &Request<'_>) -> Verdict {
        match request.operation {
            Operation::Call
            | Operation::Own
            | Operation::Lock
            | Operation::Publish
            | Operation::Subscribe
            | Operation::Inspect => self.of_user(request.identity.uid),
        }
    }

    /// Whether any rule allows the user anything, and if not, which rule denies it. A user who may do nothing doesn't learn which
    /// names there are or what is wrong with a request.
    #[must_use]
    pub fn at_all(&self, identity: &Identity) -> Verdict {
        self.of_user(identity.uid)
    }

    /// Whether the user is the broker's own or root.
    #[must_use]
    pub fn is_trusted(&self, uid: u32) -> bool {
        self.of_user(uid).effect == Effect::Allow
    }

    fn of_user(&self, uid: u32) -> Verdict {
        let (effect, by) = match uid {
            0 => (Effect::Allow, Rule::Root),
            uid if Some(uid) == self.owner => (Effect::Allow, Rule::Owner),
            _ => (Effect::Deny, Rule::Default),
        };
        Verdict { effect, by }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Call => "call",
            Self::Own => "own",
            Self::Lock => "lock",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Inspect => "inspect",
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Owner => "owner",
            Self::Default => "default",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(policy: &Policy, uid: u32) -> Verdict {
        let identity = Identity::new(uid, uid);
        let request =
            Request { identity: &identity, operation: Operation::Call, service: b"calc", method: b"add", topic: b"" };
        policy.verdict(&request)
    }

    #[test]
    fn a_verdict_names_its_rule() {
        let policy = Policy::new(7);
        assert_eq!(verdict(&policy, 0), Verdict { effect: Effect::Allow, by: Rule::Root });
        assert_eq!(verdict(&policy, 7), Verdict { effect: Effect::Allow, by: Rule::Owner });
        assert_eq!(verdict(&policy, 8), Verdict { effect: Effect::Deny, by: Rule::Default });
    }

    #[test]
    fn without_an_owner_root_alone_is_trusted() {
        assert_eq!(verdict(&Policy::new(None), 7).effect, Effect::Deny);
    }
}
