//! Who is told that the list of tools has changed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::outlet::Outlet;
use crate::mcp::{message, version::SUBSCRIPTION};

/// The session, and subscriptions of the stateless era by the ids of their requests.
#[derive(Debug, Default)]
pub(super) struct Listeners(Mutex<Listening>);

#[derive(Debug, Default)]
struct Listening {
    has_session: bool,
    subscriptions: Vec<Value>,
}

impl Listeners {
    /// There is a session, whose client is told without asking.
    pub(super) fn begin_session(&self) {
        self.listening().has_session = true;
    }

    /// Begins a subscription, and says so: nothing of it may come before. Whether there is room for it.
    pub(super) fn subscribe(&self, id: &Value, wants_tools: bool, outlet: &Outlet) -> bool {
        let mut listening = self.listening();
        if listening.subscriptions.len() >= MOST || listening.subscriptions.contains(id) {
            return false;
        }
        let granted = if wants_tools { json!({ "toolsListChanged": true }) } else { json!({}) };
        let params = json!({ "_meta": { SUBSCRIPTION: id }, "notifications": granted });
        outlet.say(&message::notification("notifications/subscriptions/acknowledged", params));
        if wants_tools {
            listening.subscriptions.push(id.clone());
        }
        true
    }

    /// Ends a subscription.
    pub(super) fn cancel(&self, id: &Value) {
        self.listening().subscriptions.retain(|known| known != id);
    }

    /// The list of tools has changed.
    pub(super) fn tell(&self, outlet: &Outlet) {
        let listening = self.listening();
        if listening.has_session {
            outlet.say(&message::notification(CHANGED, json!({})));
        }
        for id in &listening.subscriptions {
            outlet.say(&message::notification(CHANGED, json!({ "_meta": { SUBSCRIPTION: id } })));
        }
    }

    fn listening(&self) -> MutexGuard<'_, Listening> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const CHANGED: &str = "notifications/tools/list_changed";
/// Subscriptions of one client, which needs one.
const MOST: usize = 64;
