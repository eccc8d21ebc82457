//! The machine, its processes' use of CPU and memory, and the CPUs that they may run on.

use std::{fs, io, time::Duration};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_setaffinity},
};
use serde::Serialize;

/// The machine that the figures come from.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The number and model of its CPUs.
    pub cpu: String,
    /// The kernel and its version.
    pub kernel: String,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let value = |line: &str| line.split_once(':').map(|(_, value)| value.trim().to_owned());
        let mut models = cpuinfo.lines().filter(|line| line.starts_with("model name")).filter_map(value);
        let first = models.next().unwrap_or_else(|| "unknown CPU".to_owned());
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self { cpu: format!("{} x {first}", models.count() + 1), kernel: format!("Linux {}", kernel.trim()) }
    }
}

/// Restricts the calling thread, and what it starts from now on, to these CPUs.
pub fn pin(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    Ok(sched_setaffinity(None, &set)?)
}

/// Raises the limit of descriptors of this process and its children as far as possible.
pub(super) fn raise_descriptor_limit() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// CPU time that all threads of a process have used, in nanoseconds: the first figure of `/proc/PID/task/*/schedstat`. Unlike
/// utime and stime it is not counted in ticks.
pub(super) fn cpu_time(pid: u32) -> io::Result<Duration> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the two reads. The benches' own threads live as long as their processes.
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        sum += text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0_u64);
    }
    Ok(Duration::from_nanos(sum))
}

/// Resident memory of a process, in KiB.
pub(super) fn resident_kib(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|text| text.parse().ok());
    kib.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no VmRSS in /proc/{pid}/status")))
}
