//! The trace context of a call or an event, in the environment of its command.

use crate::child::recipe::Recipe;

/// Sets TRACEPARENT, or removes that of another call. It is a peer's text: only the exact form of the standard is passed on.
pub(crate) fn pass(recipe: &mut Recipe, trace: Option<&str>) {
    match trace.filter(|trace| is_traceparent(trace)) {
        Some(trace) => recipe.set("TRACEPARENT", trace),
        None => recipe.unset("TRACEPARENT"),
    };
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
}
