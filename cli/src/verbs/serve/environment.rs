//! What a command that answers a call learns from its environment. Never any part of the payload.

use std::time::Instant;

use ipc_client::{Caller, Encoding, Incoming};

use crate::child::{recipe::Recipe, trace};

/// Variables that belong to one call.
const OF_A_CALL: [&str; 8] = [
    "IPC_SERVICE",
    "IPC_METHOD",
    "IPC_ENCODING",
    "IPC_DEADLINE_MS",
    "IPC_PEER_UID",
    "IPC_PEER_GID",
    "IPC_PEER_PID",
    "TRACEPARENT",
];

/// Tells a command about its call, which ends at `until`. All variables but the last are always set, so that `set -u` works: an
/// empty one is unknown, an empty deadline is none.
pub(crate) fn of_call(recipe: &mut Recipe, incoming: &Incoming, caller: &Caller, until: Option<Instant>) {
    let identity = &caller.identity;
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    let deadline_ms = left.map(|left| left.as_millis().to_string()).unwrap_or_default();
    recipe
        .set("IPC_SERVICE", &incoming.service)
        .set("IPC_METHOD", &incoming.method)
        .set("IPC_ENCODING", if incoming.encoding == Encoding::JSON { "json" } else { "bytes" })
        .set("IPC_DEADLINE_MS", deadline_ms)
        .set("IPC_PEER_UID", identity.uid.to_string())
        .set("IPC_PEER_GID", identity.gid.to_string())
        .set("IPC_PEER_PID", identity.pid.map(|pid| pid.to_string()).unwrap_or_default());
    trace::pass(recipe, incoming.trace.as_deref());
}

/// Tells a command that answers many calls which service they are for.
pub(crate) fn of_service(recipe: &mut Recipe, service: &str) {
    for name in OF_A_CALL {
        recipe.unset(name); // set if this runs inside another handler
    }
    recipe.set("IPC_SERVICE", service);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_inherits_nothing_of_another_call() {
        let mut recipe = Recipe::new("x", vec![]);
        for name in OF_A_CALL {
            recipe.set(name, "of another call");
        }
        of_service(&mut recipe, "upper");
        let mut environment = recipe.environment();
        environment.retain(|(name, _)| name.to_str().is_some_and(|name| OF_A_CALL.contains(&name)));
        assert_eq!(environment, [("IPC_SERVICE".into(), "upper".into())]);
    }
}
