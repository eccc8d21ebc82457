//! The system calls of a broker that serves, as a filter for seccomp(2). Any other one kills the process, because only injected
//! code would make it.
//!
//! The kernel remembers which calls a filter allows whatever their arguments are, and then doesn't run it (since Linux 5.11). So what
//! a turn of the loop calls has no condition, and costs next to nothing.

use std::collections::BTreeMap;

use nix::libc::{self, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

/// Installs the filter in all threads.
pub(crate) fn restrict() -> Result<(), String> {
    for filter in filters(std::process::id()).map_err(|error| error.to_string())? {
        apply_filter_all_threads(&filter).map_err(|error| match error {
            // Their Display only says which call failed.
            seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error.to_string(),
            other => other.to_string(),
        })?;
    }
    Ok(())
}

/// The filter for the process `pid`, and one more: what clone3(2) makes is described in memory that a filter can't read. Without it, C
/// libraries use clone(2). The strictest answer of all filters counts.
fn filters(pid: u32) -> Result<[BpfProgram; 2], BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = |rules, otherwise, then| BpfProgram::try_from(SeccompFilter::new(rules, otherwise, then, arch)?);
    let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok([
        filter(clone3, SeccompAction::Allow, missing)?,
        filter(rules(pid)?, SeccompAction::KillProcess, SeccompAction::Allow)?,
    ])
}

fn rules(pid: u32) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let always = [LOOP, CONNECTIONS, FILES, THREADS, MEMORY, ENDING, LEGACY].concat();
    let mut rules: BTreeMap<_, _> = always.into_iter().map(|call| (call, Vec::new())).collect();
    for (call, condition) in conditional(pid) {
        rules.entry(call).or_insert_with(Vec::new).push(SeccompRule::new(vec![condition.compile()?])?);
    }
    Ok(rules)
}

/// What an argument must be. Of it, 32 bits are compared, or all 64.
#[derive(Clone, Copy, Debug)]
enum Condition {
    Is(u8, u64),
    Has(u8, u64),
    HasNot(u8, u64),
    IsNull(u8),
}

impl Condition {
    fn compile(self) -> Result<SeccompCondition, BackendError> {
        use SeccompCmpArgLen::{Dword, Qword};
        match self {
            Self::Is(at, value) => SeccompCondition::new(at, Dword, SeccompCmpOp::Eq, value),
            Self::Has(at, bits) => SeccompCondition::new(at, Dword, SeccompCmpOp::MaskedEq(bits), bits),
            Self::HasNot(at, bits) => SeccompCondition::new(at, Dword, SeccompCmpOp::MaskedEq(bits), 0),
            Self::IsNull(at) => SeccompCondition::new(at, Qword, SeccompCmpOp::Eq, 0),
        }
    }
}

/// Calls that are allowed on one of several conditions. Each of them is rare.
fn conditional(pid: u32) -> Vec<(c_long, Condition)> {
    let mut allowed = vec![
        (libc::SYS_socket, Condition::Is(0, bits(libc::AF_UNIX))),
        (libc::SYS_mmap, Condition::HasNot(2, bits(libc::PROT_EXEC))),
        (libc::SYS_mprotect, Condition::HasNot(2, bits(libc::PROT_EXEC))),
        (libc::SYS_clone, Condition::Has(0, bits(libc::CLONE_THREAD))), // a thread, no process
        (libc::SYS_prlimit64, Condition::IsNull(2)),                    // reads a limit, sets none
        (libc::SYS_tgkill, Condition::Is(0, pid.into())),               // abort(3)
    ];
    let of = |call, at, values: &[u64]| values.iter().map(move |value| (call, Condition::Is(at, *value))).collect();
    let with: [Vec<_>; 3] = [
        of(libc::SYS_ioctl, 1, &IOCTLS),
        of(libc::SYS_fcntl, 1, &FCNTLS.map(bits)),
        of(libc::SYS_prctl, 0, &[bits(libc::PR_SET_NAME), bits(libc::PR_SET_VMA)]), // of a thread, of memory
    ];
    allowed.extend(with.into_iter().flatten());
    if cfg!(target_env = "musl") {
        allowed.push((libc::SYS_tkill, Condition::Is(1, bits(libc::SIGABRT)))); // its abort(3)
    }
    allowed
}

fn bits(value: libc::c_int) -> u64 {
    value.unsigned_abs().into()
}

/// asm-generic/ioctls.h: FIOCLEX, FIONBIO, and how much a socket holds: SIOCINQ, SIOCOUTQ. (libc's own have a type for each C library.)
const IOCTLS: [u64; 4] = [0x5451, 0x5421, 0x541B, 0x5411];
/// Flags of descriptors and files, copies of descriptors, and the record lock on the lock file.
const FCNTLS: [libc::c_int; 7] =
    [libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL, libc::F_GETLK, libc::F_SETLK];

/// What turns of the loop call.
const LOOP: &[c_long] = &[
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_ctl,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendto,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_ppoll,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_eventfd2,
    libc::SYS_clock_gettime,
    libc::SYS_restart_syscall, // after SIGSTOP and SIGCONT
];
/// Connections that come and go, and sockets that are bound again.
const CONNECTIONS: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_close,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_fstatfs, // is it a pidfs?
];
/// Socket files, their directory and lock, and the configuration file. Landlock says which files.
const FILES: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_ftruncate,
    libc::SYS_flock,
    libc::SYS_fchmod,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getpid,
];
/// Threads, from their start to their end, and locks between them.
const THREADS: &[c_long] = &[
    libc::SYS_clone3, // see `filters`
    libc::SYS_exit,
    libc::SYS_futex,
    libc::SYS_gettid,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
];
/// What allocators call.
const MEMORY: &[c_long] = &[libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_getrandom];
/// Signals and the end, also by a panic or a stack overflow.
const ENDING: &[c_long] = &[
    libc::SYS_exit_group,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
];
/// Calls that newer architectures don't have, with others in their place.
#[cfg(target_arch = "x86_64")]
const LEGACY: &[c_long] = &[
    libc::SYS_epoll_wait,
    libc::SYS_poll,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_unlink,
    libc::SYS_readlink,
];
#[cfg(not(target_arch = "x86_64"))]
const LEGACY: &[c_long] = &[];

#[cfg(test)]
mod tests {
    use seccompiler::sock_filter;

    use super::*;

    const PID: u32 = 4_711;
    const ALLOW: u32 = 0x7fff_0000;
    const KILL: u32 = 0x8000_0000;
    /// Above all numbers of system calls.
    const NUMBERS: c_long = 1_000;
    /// A bit of the numbers of another calling convention of x86_64.
    const X32: c_long = 0x4000_0000;

    /// What the kernel does, as a filter sees it.
    struct Kernel {
        filters: [BpfProgram; 2],
        arch: u32,
    }

    impl Kernel {
        fn new() -> Self {
            let arch = if cfg!(target_arch = "x86_64") { 0xC000_003E } else { 0xC000_00B7 };
            Self { filters: filters(PID).unwrap(), arch }
        }

        /// The answer of the filter for system calls, and whether it depends on the arguments.
        fn ask(&self, call: c_long, arguments: [u64; 6]) -> (u32, bool) {
            self.run(&self.filters[1], call, arguments)
        }

        fn answer(&self, call: c_long, arguments: [u64; 6]) -> u32 {
            self.ask(call, arguments).0
        }

        /// Runs a program, as bpf(4) describes it, over a `seccomp_data`: number, architecture, instruction, six arguments.
        fn run(&self, program: &[sock_filter], call: c_long, arguments: [u64; 6]) -> (u32, bool) {
            let mut words = vec![u32::try_from(call).unwrap(), self.arch, 0, 0];
            let halves = arguments.iter().flat_map(|argument| [argument & u64::from(u32::MAX), argument >> 32]);
            words.extend(halves.map(|half| u32::try_from(half).unwrap()));
            let (mut at, mut register, mut reads_arguments) = (0, 0, false);
            loop {
                let step = &program[at];
                at += 1;
                let mut jump = |is_true: bool| at += usize::from(if is_true { step.jt } else { step.jf });
                match step.code {
                    0x20 => {
                        register = words[step.k as usize / 4];
                        reads_arguments |= step.k >= 16;
                    }
                    0x54 => register &= step.k,
                    0x05 => at += step.k as usize,
                    0x15 => jump(register == step.k),
                    0x25 => jump(register > step.k),
                    0x35 => jump(register >= step.k),
                    0x06 => return (step.k, reads_arguments),
                    other => panic!("instruction {other:#x}"),
                }
            }
        }
    }

    fn with(at: usize, value: u64) -> [u64; 6] {
        let mut arguments = [u64::MAX; 6];
        arguments[at] = value;
        arguments
    }

    #[test]
    fn what_is_not_listed_is_killed_and_what_is_listed_is_not() {
        let (kernel, listed) = (Kernel::new(), rules(PID).unwrap());
        let unlisted: Vec<_> = (0..NUMBERS).filter(|call| !listed.contains_key(call)).collect();
        assert!(
            unlisted.len() > 800 && [libc::SYS_execve, libc::SYS_ptrace].iter().all(|call| unlisted.contains(call))
        );
        for call in unlisted {
            assert_eq!([0, 1, u64::MAX].map(|value| kernel.ask(call, [value; 6])), [(KILL, false); 3], "{call}");
        }
        for (call, _) in listed.iter().filter(|(_, rules)| rules.is_empty()) {
            assert_eq!([0, 1, u64::MAX].map(|value| kernel.answer(*call, [value; 6])), [ALLOW; 3], "{call}");
        }
    }

    #[test]
    fn other_calling_conventions_are_killed() {
        let kernel = Kernel::new();
        assert_eq!(kernel.answer(X32 | libc::SYS_read, [0; 6]), KILL);
        let kernel = Kernel { arch: 0x4000_0003, ..kernel }; // i386
        assert_eq!(kernel.answer(libc::SYS_read, [0; 6]), KILL);
    }

    /// Only then the kernel answers from its bitmap (seccomp_is_const_allow).
    #[test]
    fn what_a_turn_calls_does_not_depend_on_arguments() {
        let kernel = Kernel::new();
        for call in [LOOP, CONNECTIONS, MEMORY, LEGACY].concat() {
            assert_eq!(kernel.ask(call, [1; 6]), (ALLOW, false), "{call}");
        }
    }

    #[test]
    fn no_process_is_made_but_threads_are() {
        let kernel = Kernel::new();
        assert_eq!(kernel.answer(libc::SYS_clone, with(0, bits(libc::SIGCHLD))), KILL);
        assert_eq!(kernel.answer(libc::SYS_clone, with(0, bits(libc::CLONE_VFORK | libc::CLONE_VM))), KILL);
        assert_eq!(kernel.answer(libc::SYS_clone, with(0, bits(libc::CLONE_THREAD | libc::CLONE_VM))), ALLOW);
        let (clone3, read) = (libc::SYS_clone3, libc::SYS_read);
        let first = |call| kernel.run(&kernel.filters[0], call, [0; 6]).0;
        assert_eq!([first(clone3), first(read)], [0x0005_0000 | libc::ENOSYS.unsigned_abs(), ALLOW]);
    }

    #[test]
    fn memory_is_never_executable() {
        let (kernel, read, execute) = (Kernel::new(), bits(libc::PROT_READ), bits(libc::PROT_EXEC));
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            assert_eq!([read, read | execute].map(|flags| kernel.answer(call, with(2, flags))), [ALLOW, KILL]);
        }
    }

    #[test]
    fn sockets_are_local_ones() {
        let (kernel, families) = (Kernel::new(), [libc::AF_UNIX, libc::AF_INET, libc::AF_NETLINK]);
        let answers = families.map(|family| kernel.answer(libc::SYS_socket, with(0, bits(family))));
        assert_eq!(answers, [ALLOW, KILL, KILL]);
    }

    #[test]
    fn limits_are_read_and_the_only_process_to_signal_is_its_own() {
        let kernel = Kernel::new();
        assert_eq!([0, 1 << 32].map(|new| kernel.answer(libc::SYS_prlimit64, with(2, new))), [ALLOW, KILL]);
        assert_eq!([PID, 1].map(|pid| kernel.answer(libc::SYS_tgkill, with(0, pid.into()))), [ALLOW, KILL]);
    }

    #[test]
    fn of_calls_with_many_uses_a_few_are_allowed() {
        let kernel = Kernel::new();
        let ioctl = |request| kernel.answer(libc::SYS_ioctl, with(1, request));
        assert_eq!([0x5451, 0x5411, 0x5412].map(ioctl), [ALLOW, ALLOW, KILL]); // 0x5412 types into a terminal
        let fcntl = |command| kernel.answer(libc::SYS_fcntl, with(1, bits(command)));
        assert_eq!([libc::F_GETFL, libc::F_SETOWN].map(fcntl), [ALLOW, KILL]);
        let prctl = |option| kernel.answer(libc::SYS_prctl, with(0, bits(option)));
        assert_eq!([libc::PR_SET_NAME, libc::PR_SET_DUMPABLE].map(prctl), [ALLOW, KILL]);
    }
}
