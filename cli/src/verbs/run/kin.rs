//! Which of our children come from the command of `ipcctl run`, and which were there before it.
//!
//! A shell execs its last command (`job & ipcctl run -- CMD`, `ipcctl run -- CMD > >(log)`), so this process may have children that
//! it never started. They aren't ours to end, and neither is what they leave behind, which the kernel makes our children as well.

use std::{ffi::OsString, fs, os::unix::ffi::OsStrExt};

use nix::{
    errno::Errno,
    sys::wait::{Id, WaitPidFlag, waitid},
    unistd::Pid,
};

/// Tells the command's processes from others.
#[derive(Debug)]
pub(crate) struct Kin {
    /// Processes below this one before the command started.
    earlier: Vec<Process>,
    /// The variable that only the command's environment has.
    mark: Vec<u8>,
}

/// A process. Numbers are reused, but not with the same start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    parent: Pid,
    started: u64,
    program: Program,
}

/// Which program a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// One that it has executed itself.
    Own,
    /// Still that of the process that forked it.
    Parents,
}

impl Kin {
    /// Remembers what is there now. `mark` is a variable and its value that the command alone will be given.
    pub(crate) fn before_the_command(mark: &str, value: &str) -> Self {
        // Looking through /proc takes milliseconds where there are many processes, and there is mostly nothing to find.
        let earlier = if has_children() { below(Pid::this(), &all()) } else { Vec::new() };
        Self { earlier, mark: format!("{mark}={value}").into_bytes() }
    }

    /// Our children that come from the command. They can be signalled safely: their numbers are theirs until we wait for them.
    ///
    /// If there were earlier processes, an orphan must carry the mark, or it may be theirs. If there were none, every child is the
    /// command's, even one that cleared its environment.
    pub(crate) fn children(&self) -> Vec<Process> {
        let ours = all().into_iter().filter(|process| process.parent == Pid::this());
        ours.filter(|process| self.earlier.is_empty() || self.is_marked(process)).collect()
    }

    fn is_marked(&self, process: &Process) -> bool {
        let is_earlier =
            self.earlier.iter().any(|earlier| (earlier.pid, earlier.started) == (process.pid, process.started));
        !is_earlier && environment(process.pid).split(|byte| *byte == 0).any(|variable| variable == self.mark)
    }
}

impl Process {
    /// Whether it reads from a pipe other than our own standard input: a filter at the end of a pipeline ends by itself once it has
    /// read everything.
    pub(crate) fn is_filter(self) -> bool {
        let stdin = |process: &str| fs::read_link(format!("/proc/{process}/fd/0")).unwrap_or_default().into_os_string();
        let is_pipe = |stream: &OsString| stream.as_bytes().starts_with(b"pipe:");
        let its = stdin(&self.pid.to_string());
        is_pipe(&its) && its != stdin("self")
    }

    /// Whether it was forked and has executed nothing since. A shell's child is in that state while it makes itself a filter.
    pub(crate) fn is_a_fork(self) -> bool {
        self.program == Program::Parents
    }

    fn look(pid: i32) -> Option<Self> {
        Self::parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// proc_pid_stat(5): `pid (name) state ppid … flags … starttime …`, where the name may contain anything.
    fn parse(pid: i32, stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace().skip(1);
        let parent = Pid::from_raw(fields.next()?.parse().ok()?);
        let flags: u64 = fields.nth(4)?.parse().ok()?;
        let started = fields.nth(12)?.parse().ok()?;
        let program = if flags & PF_FORKNOEXEC == 0 { Program::Own } else { Program::Parents };
        Some(Self { pid: Pid::from_raw(pid), parent, started, program })
    }
}

fn has_children() -> bool {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, look) != Err(Errno::ECHILD)
}

fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Process::look(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// Children, their children, and so on.
fn below(ancestor: Pid, all: &[Process]) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        for child in all.iter().filter(|process| process.parent == parent) {
            found.push(*child);
            parents.push(child.pid);
        }
    }
    found
}

/// The environment that a process was started with; empty if we may not read it.
fn environment(pid: Pid) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()
}

/// The flag of a process that has forked and not executed anything, in linux/sched.h and in field 9 of proc_pid_stat(5).
const PF_FORKNOEXEC: u64 = 0x40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_and_start_are_found_behind_a_hostile_name() {
        let numbers = "12 12 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 777 9 9";
        let found = |stat: &str| Process::parse(12, stat).map(|process| (process.parent.as_raw(), process.started));
        assert_eq!(found(&format!("12 (a b) S 3 {numbers}")), Some((3, 777)));
        assert_eq!(found(&format!("12 (a) S 9 (b) R 3 {numbers}")), Some((3, 777)));
        assert_eq!(found("12 (a) S 3"), None);
        assert_eq!(found(""), None);
    }

    #[test]
    fn a_process_that_has_executed_nothing_is_a_fork() {
        let of = |flags| format!("12 (a) S 3 12 12 0 -1 {flags} 1 2 3 4 5 6 7 8 20 0 1 0 777 9 9");
        assert!(Process::parse(12, &of(0x0040_0040)).unwrap().is_a_fork());
        assert!(!Process::parse(12, &of(0x0040_0000)).unwrap().is_a_fork());
    }

    #[test]
    fn a_child_is_found_as_long_as_it_is_there() {
        let kin = Kin { earlier: vec![], mark: vec![] };
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let number = Pid::from_raw(i32::try_from(child.id()).unwrap());
        assert!(kin.children().iter().any(|process| process.pid == number));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!kin.children().iter().any(|process| process.pid == number));
    }

    #[test]
    fn descendants_are_found_at_any_depth() {
        let process = |pid, parent| {
            let (pid, parent) = (Pid::from_raw(pid), Pid::from_raw(parent));
            Process { pid, parent, started: 1, program: Program::Own }
        };
        let all = [process(2, 1), process(3, 2), process(4, 3), process(5, 1), process(6, 9)];
        let mut below: Vec<i32> = below(Pid::from_raw(2), &all).iter().map(|process| process.pid.as_raw()).collect();
        below.sort_unstable();
        assert_eq!(below, [3, 4]);
    }
}
