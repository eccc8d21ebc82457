//! Alarms: limits that were reached, each told at most once a second.

use std::{collections::BTreeMap, time::Duration};

use ipc_protocol::control::LimitEvent;
use serde::{Deserialize, Serialize};

use super::moment::Moment;

/// The limits that were reached.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Alarms {
    /// The last one that is not told yet.
    raised: Option<LimitEvent>,
    /// When each was told.
    told: BTreeMap<String, Moment>,
}

impl Alarms {
    /// Notes that a user has reached a limit.
    pub(crate) fn raise(&mut self, limit: &'static str, uid: Option<u32>) {
        self.raised = Some(LimitEvent { limit: limit.to_owned(), uid });
    }

    #[inline]
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.is_some()
    }

    /// Takes what is to be told.
    pub(crate) fn take(&mut self, now: Moment) -> Option<LimitEvent> {
        let event = self.raised.take()?;
        if self.told.get(&event.limit).is_some_and(|at| now.since(*at) < PAUSE) {
            return None;
        }
        self.told.insert(event.limit.clone(), now);
        Some(event)
    }
}

/// The time between two alarms about one limit.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_told_at_most_once_a_second() {
        let mut alarms = Alarms::default();
        let mut raise = |limit, ms| {
            alarms.raise(limit, Some(7));
            alarms.take(Moment(0).after_ms(ms)).map(|event| event.limit)
        };
        assert_eq!(raise("connections", 0).as_deref(), Some("connections"));
        assert_eq!(raise("connections", 999), None);
        assert_eq!(raise("names_per_peer", 999).as_deref(), Some("names_per_peer"));
        assert_eq!(raise("connections", 1_000).as_deref(), Some("connections"));
    }
}
