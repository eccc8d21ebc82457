//! Fits the bytes that are held for all users to the memory that this process may have.
//!
//! Without memory a program is killed, or ends where it allocates. A quota that is never reached protects from neither.

use std::{fs, path::Path};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use crate::core::Limits;

/// The memory that this process may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Bytes; `None` if nothing limits it.
    most: Option<u64>,
}

impl Memory {
    /// Looks for the lowest limit: of the process (RLIMIT_AS, RLIMIT_DATA) or of its control groups (`memory.max`).
    pub(crate) fn count() -> Self {
        let of_process = [Resource::RLIMIT_AS, Resource::RLIMIT_DATA].map(|resource| getrlimit(resource).ok());
        let of_process = of_process.into_iter().flatten().map(|(most, _)| most).filter(|most| *most != RLIM_INFINITY);
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let of_groups = of_groups(&groups, Path::new("/sys/fs/cgroup"));
        Self { most: of_process.chain(of_groups).min() }
    }

    /// Lowers the limits to what there is memory for, but never below what a single frame needs.
    pub(crate) fn fit(self, mut limits: Limits) -> Limits {
        let Some(most) = self.most else { return limits };
        let room = most.saturating_sub(OWN) / 4 * 3;
        if room < limits.bytes_total {
            limits.bytes_total = room.max(limits.least_quota()).min(limits.bytes_total);
            limits.bytes_per_uid = limits.bytes_per_uid.min(limits.bytes_total);
        }
        limits
    }
}

/// The log line of a broker that holds less for all users than configured; `None` if it holds as much.
#[must_use]
pub fn bytes_lowered(configured: u64, fitted: u64) -> Option<String> {
    let reason = "this process may have too little memory (RLIMIT_AS, RLIMIT_DATA or memory.max of its control group)";
    (fitted < configured).then(|| format!("event=bytes_total_lowered from={configured} to={fitted} reason={reason:?}"))
}

/// The limits of the control groups that a process is in, by its /proc/PID/cgroup, and of those above them.
fn of_groups(groups: &str, root: &Path) -> Vec<u64> {
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let group = group.trim_start_matches('/');
        match controllers {
            "" => limits_above(root, group, "memory.max"),
            "memory" => limits_above(&root.join("memory"), group, "memory.limit_in_bytes"), // cgroups, version 1
            _ => Vec::new(),
        }
    });
    limits.collect()
}

fn limits_above(root: &Path, group: &str, file: &str) -> Vec<u64> {
    let groups = Path::new(group).ancestors().map(|group| root.join(group).join(file));
    groups.filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok()).collect() // "max" is no number
}

/// Bytes for the program itself, and for the tables of 16,384 connections.
const OWN: u64 = 32 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn a_quota_for_which_there_is_memory_is_kept() {
        let limits = Limits::default();
        assert_eq!(Memory { most: None }.fit(limits.clone()), limits);
        assert_eq!(Memory { most: Some(1024 * MIB) }.fit(limits.clone()), limits);
    }

    #[test]
    fn a_quota_is_lowered_to_three_quarters_of_what_the_program_leaves() {
        let fitted = Memory { most: Some(72 * MIB) }.fit(Limits::default());
        assert_eq!((fitted.bytes_total, fitted.bytes_per_uid), (30 * MIB, 30 * MIB));
        assert_eq!(fitted.mistakes(), []);
    }

    #[test]
    fn there_is_always_room_for_a_frame() {
        let fitted = Memory { most: Some(0) }.fit(Limits::default());
        assert_eq!(fitted.mistakes(), []);
        assert!(fitted.bytes_total < 2 * MIB, "{}", fitted.bytes_total);
    }

    #[test]
    fn the_limits_of_a_group_and_of_those_above_it_count() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a/b/memory.max", "max\n");
        write("a/memory.max", "5000\n");
        write("memory/old/memory.limit_in_bytes", "7000\n");
        let groups = "5:cpu,memory2:/x\n4:memory:/old\n0::/a/b\n";
        assert_eq!(of_groups(groups, root.path()), [7000, 5000]);
        assert!(of_groups("0::/gone\n", root.path()).is_empty());
    }
}
