//! What the calls ask for: the same for callers that send bytes and for those that have types.

use std::time::Duration;

use ipc_client::{Encoding, Method};
use serde::{Deserialize, Serialize};

use crate::{dice::Dice, ledger::CallId};

/// A call that a service writes down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Work {
    id: u64,
    act: Act,
    /// How long it takes, in units of 0.1 ms.
    effort: u16,
    padding: String,
}

/// How a service takes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Act {
    Answer,
    /// It says that it has not run the call.
    Decline,
    /// It runs the call and says no.
    Fail,
    /// It runs the call and panics.
    Panic,
}

/// The services, and how many processes offer the name of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Typed methods on the thread that reads.
    Quick,
    /// Bytes on a pool, with calls that wait in the service.
    Pool,
    /// Bytes on pools of three processes with one name.
    Shared,
    /// Longer work, with calls that wait at the broker.
    Slow,
}

impl Method for Work {
    const SERVICE: &'static str = "chaos.quick";
    const METHOD: &'static str = "work";
    type Reply = u64;
    type Error = String;
}

impl Work {
    /// Rolls what to ask of a service, from a caller whose longest body has `most` bytes.
    pub(crate) fn roll(dice: &mut Dice, id: CallId, of: Kind, most: u64) -> Self {
        let act = match dice.below(100) {
            0..4 => Act::Decline,
            4..8 => Act::Fail,
            8 => Act::Panic,
            _ => Act::Answer,
        };
        let effort = match of {
            Kind::Quick => 0,
            Kind::Pool | Kind::Shared if dice.once_in(50) => dice.below(30),
            Kind::Pool | Kind::Shared => 0,
            Kind::Slow => dice.below(200),
        };
        let padding = match dice.below(200) {
            0 => dice.below(most),
            1..20 => dice.below(most.min(5_000)),
            _ => dice.below(50),
        };
        let padding = "x".repeat(usize::try_from(padding).expect("a body fits"));
        Self { id: id.0, act, effort: u16::try_from(effort).expect("it is below 200"), padding }
    }

    pub(crate) fn id(&self) -> CallId {
        CallId(self.id)
    }

    pub(crate) fn act(&self) -> Act {
        self.act
    }

    pub(crate) fn effort(&self) -> Duration {
        Duration::from_micros(u64::from(self.effort) * 100)
    }

    /// As JSON, which every service here takes.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }

    pub(crate) fn from_json(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// Whether this is the reply to it.
    pub(crate) fn is_answered_by(&self, reply: &[u8]) -> bool {
        serde_json::from_slice::<u64>(reply).is_ok_and(|id| id == self.id)
    }
}

impl Kind {
    /// The processes.
    pub(crate) const PROCESSES: [Self; 6] =
        [Self::Quick, Self::Pool, Self::Shared, Self::Shared, Self::Shared, Self::Slow];
    pub(crate) const ENCODING: Encoding = Encoding::JSON;

    /// Rolls which service to call, at this many calls a second. As many calls go to the slow service as it takes; the others take many.
    pub(crate) fn roll(dice: &mut Dice, rate: u64) -> Self {
        if dice.once_in((rate / 20).max(8)) {
            return Self::Slow;
        }
        dice.pick(&[Self::Quick, Self::Quick, Self::Pool, Self::Pool, Self::Pool, Self::Shared, Self::Shared])
    }

    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quick => Work::SERVICE,
            Self::Pool => "chaos.pool",
            Self::Shared => "chaos.shared",
            Self::Slow => "chaos.slow",
        }
    }

    /// The target of a call of bytes.
    pub(crate) fn target(self) -> &'static str {
        match self {
            Self::Quick => "chaos.quick.work",
            Self::Pool | Self::Shared | Self::Slow => self.name(),
        }
    }
}
