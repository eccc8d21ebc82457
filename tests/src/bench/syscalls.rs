//! System calls of a running process, counted by strace.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use super::{contender::find_program, process::Process};

/// System calls by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Syscalls {
    counts: BTreeMap<String, f64>,
}

/// A running trace.
pub(super) struct Strace {
    process: Process,
    summary: PathBuf,
}

impl Syscalls {
    /// The total of all system calls.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.counts.values().sum()
    }

    /// `name count` for each system call, the most frequent first.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut counts: Vec<_> = self.counts.iter().filter(|(_, count)| **count >= 0.005).collect();
        counts.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        counts.iter().map(|(name, count)| format!("{name} {count:.2}")).collect::<Vec<_>>().join(", ")
    }

    /// Reads the table that `strace -c` writes: the last column is the name, the fourth the count.
    fn parse(summary: &str) -> Self {
        let row = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (count, name) = (words.get(3)?.parse().ok()?, *words.last()?);
            (name != "total").then(|| (name.to_owned(), count))
        };
        Self { counts: summary.lines().filter_map(row).collect() }
    }

    pub(super) fn minus(mut self, other: &Self) -> Self {
        for (name, count) in &other.counts {
            *self.counts.entry(name.clone()).or_default() -= count;
        }
        self
    }

    pub(super) fn per(mut self, calls: u64) -> Self {
        let calls = f64::from(u32::try_from(calls).expect("a traced run is short"));
        self.counts.values_mut().for_each(|count| *count /= calls);
        self
    }
}

impl Strace {
    /// Traces a process and its threads; `None` if strace is not installed or not permitted.
    pub(super) fn attach(pid: u32, directory: &Path) -> io::Result<Option<Self>> {
        let Some(strace) = find_program("strace") else { return Ok(None) };
        let summary = directory.join("strace");
        let mut command = Command::new(strace);
        command.args(["-f", "-c", "-p", &pid.to_string(), "-o"]).arg(&summary);
        let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()))?;
        let stderr = process.child().stderr.take().expect("standard error is a pipe");
        let mut lines = BufReader::new(stderr).lines();
        let attached = lines.next().transpose()?.is_some_and(|line| line.contains("attached"));
        // Further lines are discarded, because strace would stop at a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(attached.then_some(Self { process, summary }))
    }

    /// Ends the trace.
    pub(super) fn finish(mut self) -> io::Result<Syscalls> {
        let pid = i32::try_from(self.process.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, Signal::INT)?;
        self.process.child().wait()?;
        Ok(Syscalls::parse(&fs::read_to_string(&self.summary)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read_by_name() {
        let syscalls = Syscalls::parse(
            "% time     seconds  usecs/call     calls    errors syscall\n\
             ------ ----------- ----------- --------- --------- ----------------\n\
             60.00    0.000003           1      2000           sendmsg\n\
             40.00    0.000002           1      2002         2 recvmsg\n\
             ------ ----------- ----------- --------- --------- ----------------\n\
             100.00    0.000005           1      4002         2 total\n",
        );
        assert_eq!(syscalls.total(), 4002.0);
        assert_eq!(syscalls.per(1000).describe(), "recvmsg 2.00, sendmsg 2.00");
    }
}
