//! What a command that answers a call learns from its environment. Never any part of the payload.

use std::process::Command;

use ipc_client::{Context, Encoding, Incoming};

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

/// Tells a command about its call. All variables but the last are always set, so that `set -u` is no trap: empty means unknown.
pub(crate) fn of_call(command: &mut Command, incoming: &Incoming, context: &Context) {
    let identity = &context.caller().identity;
    let deadline_ms = if incoming.one_way { String::new() } else { context.time_left().as_millis().to_string() };
    command
        .env("IPC_SERVICE", &incoming.service)
        .env("IPC_METHOD", &incoming.method)
        .env("IPC_ENCODING", if incoming.encoding == Encoding::JSON { "json" } else { "bytes" })
        .env("IPC_DEADLINE_MS", deadline_ms)
        .env("IPC_PEER_UID", identity.uid.to_string())
        .env("IPC_PEER_GID", identity.gid.to_string())
        .env("IPC_PEER_PID", identity.pid.map(|pid| pid.to_string()).unwrap_or_default());
    // The trace context is the caller's text: what is not exactly of the form that the standard gives stays out.
    match incoming.trace.as_deref().filter(|trace| is_traceparent(trace)) {
        Some(trace) => command.env("TRACEPARENT", trace),
        None => command.env_remove("TRACEPARENT"),
    };
}

/// Tells a command that answers many calls whose they are.
pub(crate) fn of_service(command: &mut Command, service: &str) {
    for name in OF_A_CALL {
        command.env_remove(name); // left over when this runs inside another handler
    }
    command.env("IPC_SERVICE", service);
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
        let mut command = Command::new("x");
        of_service(&mut command, "upper");
        let set: Vec<_> = command.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))).collect();
        assert_eq!(set, [("IPC_SERVICE".as_ref(), "upper".as_ref())]);
        assert_eq!(command.get_envs().count(), OF_A_CALL.len());
    }
}
