//! The user that a broker trusts beside root: its own, as long as that is one user and nobody else.

use std::fs;

/// The user that this process runs as; `None` if others would be taken for it.
///
/// The kernel shows every user whom a user namespace does not map as the same overflow user (user_namespaces(7)). A broker that
/// runs as that one in such a namespace cannot tell its owner from a stranger.
pub(crate) fn owner() -> Option<u32> {
    let uid = rustix::process::geteuid().as_raw();
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let overflow = read("/proc/sys/kernel/overflowuid").trim().parse().unwrap_or(OVERFLOW_UID);
    let is_one_user = uid != overflow || maps_everybody(&read("/proc/self/uid_map"));
    is_one_user.then_some(uid)
}

/// Whether a uid_map has a place for each of the 2^32 - 1 users there can be: each line ends in how many it maps.
fn maps_everybody(uid_map: &str) -> bool {
    let counts = uid_map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    counts.sum::<u64>() == u64::from(u32::MAX)
}

/// DEFAULT_OVERFLOWUID of the kernel.
const OVERFLOW_UID: u32 = 65_534;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_map_maps_everybody() {
        assert!(maps_everybody("         0          0 4294967295\n"));
        assert!(maps_everybody("0 100000 65536\n65536 165536 4294901759\n"));
        assert!(!maps_everybody("         0          0          1\n"));
        assert!(!maps_everybody(""));
    }
}
