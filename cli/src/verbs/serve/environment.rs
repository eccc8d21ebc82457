//! What a command that answers a call learns from its environment. Never any part of the payload.

use std::time::Instant;

use ipc_client::{Caller, Encoding, Incoming};

use crate::child::recipe::Recipe;

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
    // The trace context is the caller's text: only the exact form of the standard is passed on.
    match incoming.trace.as_deref().filter(|trace| is_traceparent(trace)) {
        Some(trace) => recipe.set("TRACEPARENT", trace),
        None => recipe.unset("TRACEPARENT"),
    };
}

/// Tells a command that answers many calls which service they are for.
pub(crate) fn of_service(recipe: &mut Recipe, service: &str) {
    for name in OF_A_CALL {
        recipe.unset(name); // set if this runs inside another handler
    }
    recipe.set("IPC_SERVICE", service);
}

/// Whether a text is a `traceparent` of W3C Trace Context, section 3.2: `00-<32 hex>-<16 hex>-<2 hex>`, ids not zero.
fn is_traceparent(text: &str) -> bool {
    let is_hex = |part: &str, len| part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |part: &str| part.bytes().all(|b| b == b'0');
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, parent, flags] = parts[..] else { return false };
    is_hex(version, 2)
        && version != "ff"
        && is_hex(trace, 32)
        && !is_zero(trace)
        && is_hex(parent, 16)
        && !is_zero(parent)
        && is_hex(flags, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trace_context_of_the_standard_passes() {
        assert!(is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert!(!is_traceparent("00-00000000000000000000000000000000-00f067aa0ba902b7-01"));
        assert!(!is_traceparent("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert!(!is_traceparent("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"));
        assert!(!is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n"));
        assert!(!is_traceparent("$(reboot)"));
        assert!(!is_traceparent(""));
    }

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
