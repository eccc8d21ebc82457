//! What a broker costs the machine: its resident memory, and the kernel memory of it and those who attack it.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use crate::proc;

/// Kernel memory of chosen processes, counted by a control group of their own, or by `/proc/meminfo` for the whole machine.
#[derive(Debug)]
pub struct KernelMemory {
    group: Option<PathBuf>,
    before_kib: u64,
}

/// Memory at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Resident memory of the broker, in KiB.
    pub resident_kib: u64,
    /// The most that it has ever been.
    pub peak_kib: u64,
    /// Kernel memory, in KiB: sockets, what lies unread in them, and all else.
    pub kernel_kib: u64,
}

impl KernelMemory {
    /// Starts to count. The calling process, and what it starts from now on, are counted, if the machine has the control group
    /// `memory` (version 1) and lets its user make one.
    #[must_use]
    pub fn count() -> Self {
        let group = new_group();
        let before_kib = if group.is_some() { 0 } else { slab_kib() };
        Self { group, before_kib }
    }

    /// In KiB.
    #[must_use]
    pub fn kib(&self) -> u64 {
        self.figure("memory.kmem.usage_in_bytes")
    }

    /// The most it has been, in KiB.
    #[must_use]
    pub fn peak_kib(&self) -> u64 {
        self.figure("memory.kmem.max_usage_in_bytes")
    }

    /// Who is counted.
    #[must_use]
    pub fn source(&self) -> &'static str {
        if self.group.is_some() { "this test, its broker and its attackers" } else { "the whole machine" }
    }

    fn figure(&self, name: &str) -> u64 {
        let Some(group) = &self.group else { return slab_kib().saturating_sub(self.before_kib) };
        let text = fs::read_to_string(group.join(name)).unwrap_or_default();
        text.trim().parse::<u64>().unwrap_or(0) / 1_024
    }
}

impl Drop for KernelMemory {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            // The processes go back to where they came from. A group with a process in it cannot be removed.
            let parent = group.parent().unwrap_or(group);
            for pid in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
                let _ = fs::write(parent.join("cgroup.procs"), pid);
            }
            let _ = fs::remove_dir(group);
        }
    }
}

impl Memory {
    /// The memory of a broker now.
    #[must_use]
    pub fn of(pid: u32, kernel: &KernelMemory) -> Self {
        Self { resident_kib: proc::resident_kib(pid), peak_kib: proc::peak_resident_kib(pid), kernel_kib: kernel.kib() }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |kib: u64| kib as f64 / 1_024.0;
        let Self { resident_kib, peak_kib, kernel_kib } = *self;
        write!(f, "RSS {:.1} (peak {:.1})  kernel {:.1} MiB", mib(resident_kib), mib(peak_kib), mib(kernel_kib))
    }
}

fn new_group() -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.split_once(":memory:"))?.1.trim_start_matches('/');
    let own = Path::new("/sys/fs/cgroup/memory").join(own);
    let parent = if own.is_dir() { own } else { PathBuf::from("/sys/fs/cgroup/memory") };
    let group = parent.join(format!("ipcd-test-{}", std::process::id()));
    fs::create_dir(&group).ok()?;
    fs::write(group.join("cgroup.procs"), std::process::id().to_string()).ok()?;
    Some(group)
}

fn slab_kib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("SUnreclaim:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
