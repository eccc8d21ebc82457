//! The user that a broker trusts besides root: its own, provided that its uid denotes only one user.

use std::fs;

/// The user that this process runs as; `None` if other users have the same uid here.
///
/// Every user that a user namespace doesn't map appears in it as the overflow user (user_namespaces(7)). A broker that runs as that
/// user in such a namespace can't tell its owner from a stranger.
pub(crate) fn owner() -> Option<u32> {
    let uid = rustix::process::geteuid().as_raw();
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let overflow = read("/proc/sys/kernel/overflowuid").trim().parse().unwrap_or(OVERFLOW_UID);
    let is_one_user = uid != overflow || maps_all_users(&read("/proc/self/uid_map"));
    is_one_user.then_some(uid)
}

/// Whether a uid_map maps all of the 2^32 - 1 possible users. The third column is the number that a line maps.
fn maps_all_users(uid_map: &str) -> bool {
    let counts = uid_map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    counts.sum::<u64>() == u64::from(u32::MAX)
}

/// The kernel's DEFAULT_OVERFLOWUID.
const OVERFLOW_UID: u32 = 65_534;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_complete_map_maps_all_users() {
        assert!(maps_all_users("         0          0 4294967295\n"));
        assert!(maps_all_users("0 100000 65536\n65536 165536 4294901759\n"));
        assert!(!maps_all_users("         0          0          1\n"));
        assert!(!maps_all_users(""));
    }
}
