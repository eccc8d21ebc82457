//! The state of processes, from proc(5).

use std::{collections::BTreeSet, fs, path::Path};

use nix::{
    fcntl::OFlag,
    sys::{
        signal::Signal,
        socket::{getsockopt, sockopt::SndBuf},
    },
};
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Resource, Rlimit, getrlimit, pidfd_getfd, pidfd_open, prlimit,
};

use crate::command::process;

/// The numbers of a process's open descriptors.
#[must_use]
pub fn descriptors(pid: u32) -> BTreeSet<usize> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap_or_else(|error| panic!("process {pid}: {error}"));
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Whether a descriptor of a process is a socket.
#[must_use]
pub fn is_socket(pid: u32, number: usize) -> bool {
    let target = fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap_or_default();
    target.to_string_lossy().starts_with("socket:")
}

/// How much a socket of a process may hold that its peer has not read, in bytes of kernel memory (`SO_SNDBUF`).
#[must_use]
pub fn send_buffer(pid: u32, number: usize) -> usize {
    let number = i32::try_from(number).expect("the numbers of descriptors fit");
    let handle = rustix::process::Pid::from_raw(process(pid).as_raw()).expect("a process id is not zero");
    let handle = pidfd_open(handle, PidfdFlags::empty()).expect("it runs");
    let socket = pidfd_getfd(handle, number, PidfdGetfdFlags::empty()).expect("the test may inspect its child");
    getsockopt(&socket, SndBuf).expect("it is a socket")
}

/// Whether a descriptor of a process is open with `O_NONBLOCK`.
#[must_use]
pub fn is_non_blocking(pid: u32, number: usize) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap_or_default();
    let flags = text.lines().find_map(|line| i32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
    flags.is_some_and(|flags| OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK))
}

/// Whether a process is running. A zombie is not.
#[must_use]
pub fn is_running(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// The zombies among the children of `pid`.
#[must_use]
pub fn zombies_of(pid: u32) -> Vec<u32> {
    let is_zombie_of = |child: &u32| stat(*child).is_some_and(|stat| stat.parent == pid && stat.state == 'Z');
    all().into_iter().filter(is_zombie_of).collect()
}

/// The children of `pid`.
#[must_use]
pub fn children_of(pid: u32) -> Vec<u32> {
    all().into_iter().filter(|child| stat(*child).is_some_and(|stat| stat.parent == pid)).collect()
}

/// Processes that have `path` in any environment variable.
#[must_use]
pub fn whose_environment_names(path: &Path) -> Vec<u32> {
    let wanted = path.as_os_str().as_encoded_bytes();
    let names_it = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(wanted.len()).any(|part| part == wanted)
    };
    all().into_iter().filter(|pid| *pid != std::process::id()).filter(names_it).collect()
}

/// CPU time that a process has used, in ticks of 10 ms.
#[must_use]
pub fn cpu_ticks(pid: u32) -> u64 {
    stat(pid).unwrap_or_else(|| panic!("no process {pid}")).ticks
}

/// Resident memory of a process, in KiB.
#[must_use]
pub fn resident_kib(pid: u32) -> u64 {
    kib(pid, "VmRSS")
}

/// The most that the resident memory of a process has been, in KiB.
#[must_use]
pub fn peak_resident_kib(pid: u32) -> u64 {
    kib(pid, "VmHWM")
}

fn kib(pid: u32, name: &str) -> u64 {
    status(pid, name).trim_end_matches(" kB").parse().expect("a number of kB")
}

/// A line of a process's status, without its name.
#[must_use]
pub fn status(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let value = lines.find(|(found, _)| *found == name).unwrap_or_else(|| panic!("no {name} of process {pid}")).1;
    value.trim().to_owned()
}

/// Limits a child to this many descriptors from now on; `None` lifts the limit again.
pub fn limit_descriptors(pid: u32, most: Option<usize>) {
    let maximum = getrlimit(Resource::Nofile).maximum; // a broker raises its own limit to this
    let current = most.map_or(maximum, |most| Some(most as u64));
    prlimit(Pid::from_raw(process(pid).as_raw()), Resource::Nofile, Rlimit { current, maximum })
        .expect("a child can be limited");
}

/// Whether this process ignores a signal, and so its children do: a shell's `&` makes it ignore SIGINT.
#[must_use]
pub fn ignores(signal: Signal) -> bool {
    is_in_mask("self", "SigIgn:", signal)
}

/// Whether a process blocks a signal, to read it from a descriptor.
#[must_use]
pub fn holds_back(pid: u32, signal: Signal) -> bool {
    is_in_mask(&pid.to_string(), "SigBlk:", signal)
}

fn is_in_mask(process: &str, mask: &str, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix(mask)?.trim(), 16).ok());
    mask.unwrap_or(0) >> (signal as u32 - 1) & 1 == 1
}

/// The state of a process as one letter; `T` is stopped.
#[must_use]
pub fn state(pid: u32) -> Option<char> {
    stat(pid).map(|stat| stat.state)
}

struct Stat {
    state: char,
    parent: u32,
    ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may itself contain blanks and parentheses.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        ticks: ticks(11)? + ticks(12)?,
    })
}

fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
