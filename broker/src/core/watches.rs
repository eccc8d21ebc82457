//! The calls that wait for a name to be offered or to go.

use std::collections::{BTreeMap, VecDeque};

use ipc_protocol::{
    ServiceName,
    control::{self, Wait},
};
use serde::{Deserialize, Serialize};

use super::{ids::CallId, names::Names};

/// The unanswered calls of `ipc.wait`, by the name that they wait for.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Watches {
    by_name: BTreeMap<ServiceName, VecDeque<(CallId, Wait)>>,
}

impl Watches {
    /// Adds a call, until [`Watches::forget`].
    pub(crate) fn add(&mut self, call: CallId, wait: &Wait) {
        for name in names_of(wait) {
            self.by_name.entry(name).or_default().push_back((call, wait.clone()));
        }
    }

    /// The number of calls that wait for the name of `wait` or for the service in its target, whichever is greater.
    pub(crate) fn count(&self, wait: &Wait) -> usize {
        names_of(wait).map(|name| self.by_name.get(&name).map_or(0, VecDeque::len)).max().unwrap_or(0)
    }

    /// Forgets a call, which has ended.
    pub(crate) fn forget(&mut self, call: CallId, wait: &Wait) {
        for name in names_of(wait) {
            if let Some(watchers) = self.by_name.get_mut(&name) {
                // When the name changes, its calls are answered in order, and this one is the first.
                if let Some(at) = watchers.iter().position(|(id, _)| *id == call) {
                    watchers.remove(at);
                }
                if watchers.is_empty() {
                    self.by_name.remove(&name);
                }
            }
        }
    }

    /// The calls whose condition a change of `name` has met.
    pub(crate) fn satisfied(&self, name: &ServiceName, names: &Names) -> Vec<CallId> {
        let watchers = self.by_name.get(name).into_iter().flatten();
        watchers.filter(|(_, wait)| is_satisfied(wait, names)).map(|(id, _)| *id).collect()
    }

    /// Checks that exactly the calls that wait for a name are listed for it. For the invariants.
    ///
    /// # Panics
    /// If they are not.
    pub(crate) fn assert_watching<'a>(&self, waiting: impl Iterator<Item = (CallId, &'a Wait)>) {
        let stands = |call, name: &ServiceName| {
            self.by_name.get(name).is_some_and(|watchers| watchers.iter().any(|(id, _)| *id == call))
        };
        let mut expected = 0;
        for (call, wait) in waiting {
            for name in names_of(wait) {
                assert!(stands(call, &name), "{call:?} waits for {name} and does not stand there");
                expected += 1;
            }
        }
        assert_eq!(
            self.by_name.values().map(VecDeque::len).sum::<usize>(),
            expected,
            "a call stands where it does not wait"
        );
        assert!(self.by_name.values().all(|watchers| !watchers.is_empty()), "a name without watchers is kept");
    }
}

/// Whether the condition of a wait is met.
pub(crate) fn is_satisfied(wait: &Wait, names: &Names) -> bool {
    let is_there = |name: &str| name == control::SERVICE || names.find(name.as_bytes()).is_some();
    let is_there = names_of(wait).any(|name| is_there(name.as_str()));
    is_there != wait.gone
}

/// Bytes that a waiting call is charged besides its slot, for the name in up to five places.
pub(crate) fn charge_of(wait: &Wait) -> usize {
    const ROWS: usize = 256;
    ROWS + 5 * wait.name.as_str().len()
}

/// The name, and for a target the name without its last label.
fn names_of(wait: &Wait) -> impl Iterator<Item = ServiceName> {
    let parent = wait
        .name
        .as_str()
        .rsplit_once('.')
        .filter(|_| wait.target)
        .and_then(|(parent, _)| ServiceName::parse(parent).ok());
    [Some(wait.name.clone()), parent].into_iter().flatten()
}
