//! The process around the broker: what it drops of its parent's, and what it may open.

use std::{
    env,
    ffi::OsStr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use nix::sys::prctl;
use rustix::{
    fs::Mode,
    process::{Resource, Rlimit, getrlimit, setrlimit, umask},
};

/// Executes the program once more with the variables that it reads, if there are others: a parent's secrets don't belong into the
/// memory of a daemon. Removing a variable in place leaves its text on the stack, and in /proc.
///
/// It goes on if that fails, because a clean environment is a precaution.
pub(crate) fn shed_environment() {
    let is_kept = |name: &OsStr| KEPT.iter().any(|kept| name == *kept);
    if env::vars_os().all(|(name, _)| is_kept(&name)) {
        return;
    }
    let mut arguments = env::args_os();
    let (Some(called), Ok(program)) = (arguments.next(), env::current_exe()) else { return };
    // Run by a dynamic linker or an emulator, the process has the name of that program.
    if PathBuf::from(&called).file_name() != Path::file_name(&program) {
        return;
    }
    let kept = env::vars_os().filter(|(name, _)| is_kept(name));
    let _ = Command::new(program).arg0(called).args(arguments).env_clear().envs(kept).exec();
}

/// No new privileges, no core dump, and no debugger of the same user: all of them could show or change what other users send.
pub(crate) fn harden() {
    // None of it can fail on a kernel that runs this program. In a sandbox that forbids it, it is superfluous.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = prctl::set_dumpable(false);
    let _ = prctl::set_no_new_privs();
}

/// Clears the umask: sockets, lock file and directories are created with explicit modes, and it would only spoil the sockets'. Raises
/// the soft limit on open files to the hard one: each connection takes a descriptor. The soft limit is low because of programs that
/// use select(2). The library does neither, as the program around it may be one, or start one.
pub(crate) fn set_file_limits() {
    umask(Mode::empty());
    let limit = getrlimit(Resource::Nofile);
    // It fails in some sandboxes. Then there is place for fewer connections.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// The variables that the broker and its libraries read, and the one without which the dynamic linker may not find them.
const KEPT: [&str; 9] = [
    "IPCD_SOCKET",
    "LD_LIBRARY_PATH",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "XDG_RUNTIME_DIR",
];
