//! Descriptors: each connection needs one, and there are only so many.

use crate::core::Limits;

/// Connections need descriptors: as many as there are, less 256 for everything else. The soft limit is raised as far as it goes.
pub(crate) fn fit_to_descriptors(mut limits: Limits) -> Limits {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return limits };
    let raised = if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    limits.connections = limits.connections.min(raised.saturating_sub(DESCRIPTORS_KEPT).max(1));
    limits
}

/// Descriptors kept for other things than connections: listeners, epoll, files.
const DESCRIPTORS_KEPT: u64 = 256;
