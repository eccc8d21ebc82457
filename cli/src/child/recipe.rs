//! How a process is started: command line, environment, standard streams, signals.
//!
//! std's `Command` won't do: a child inherits the signals that this process blocks, and would be deaf to TERM; nor can it undo an
//! inherited "ignore". posix_spawn(3) can, and doesn't fork a process with threads.

use std::{
    env,
    ffi::{CString, NulError, OsStr, OsString},
    fmt,
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStringExt, process::ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::ExitStatus,
};

use nix::{
    errno::Errno,
    spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn},
    sys::{
        signal::{SigSet, Signal},
        wait::WaitStatus,
    },
    unistd::Pid,
};

use crate::term::reason;

/// A process to start.
#[derive(Debug)]
pub(crate) struct Recipe {
    path: PathBuf,
    /// The first is the program's name.
    arguments: Vec<OsString>,
    /// Variables to set; `None` removes one.
    changes: Vec<(OsString, Option<OsString>)>,
    streams: [Stream; 3],
}

/// A standard stream of the new process.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Ours.
    Inherit,
    /// /dev/null.
    Null,
    Is(OwnedFd),
}

/// Why a process didn't start. Nothing has run.
#[derive(Debug)]
pub(crate) enum SpawnError {
    /// We can't provide what it needs.
    Host {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel refuses to execute the program.
    Program(io::Error),
}

/// How the new process relates to this one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// It leads a process group of its own, and neither blocks nor ignores any signal.
    OnItsOwn,
    /// It takes our place: our process group, and the signal mask that we started with.
    InOurPlace(SigSet),
    /// It is in our process group and blocks every signal.
    DeafInOurGroup,
}

impl Recipe {
    /// A command line, with our environment and our streams.
    pub(crate) fn new(path: impl Into<PathBuf>, arguments: Vec<OsString>) -> Self {
        Self {
            path: path.into(),
            arguments,
            changes: Vec::new(),
            streams: [Stream::Inherit, Stream::Inherit, Stream::Inherit],
        }
    }

    /// Sets a variable.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.changes.push((name.into(), Some(value.into())));
        self
    }

    /// Removes a variable.
    pub(crate) fn unset(&mut self, name: &str) -> &mut Self {
        self.changes.push((name.into(), None));
        self
    }

    /// Sets its standard input, output and error.
    pub(crate) fn streams(&mut self, streams: [Stream; 3]) -> &mut Self {
        self.streams = streams;
        self
    }

    /// Its environment: ours with the changes, of which the last one counts.
    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        let is_changed = |name: &OsStr| self.changes.iter().any(|(changed, _)| changed == name);
        let mut variables: Vec<_> = env::vars_os().filter(|(name, _)| !is_changed(name)).collect();
        for (index, (name, value)) in self.changes.iter().enumerate() {
            let is_last = !self.changes[index + 1..].iter().any(|(later, _)| later == name);
            if let (Some(value), true) = (value, is_last) {
                variables.push((name.clone(), value.clone()));
            }
        }
        variables
    }

    /// Starts it. The caller must wait for the process.
    pub(crate) fn start(self, manner: Manner) -> Result<Pid, SpawnError> {
        let environment = self.environment().into_iter().map(|(name, value)| variable(name, &value));
        let environment = environment.collect::<Result<Vec<_>, _>>()?;
        let streams = self.streams.into_iter().map(Stream::opened).collect::<Result<Vec<_>, _>>()?;
        let actions = redirections(&streams).map_err(host("redirect its standard streams"))?;
        let attributes = attributes(manner).map_err(host("set its signals and its process group"))?;
        let arguments = self.arguments.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
        let spawned = match posix_spawn(&*self.path, &actions, &attributes, &arguments, &environment) {
            // A script without #! goes to the shell, as with execvp(3).
            Err(Errno::ENOEXEC) => {
                let script = by_shell(&self.path, arguments)?;
                posix_spawn(Path::new(SHELL), &actions, &attributes, &script, &environment)
            }
            outcome => outcome,
        };
        spawned.map_err(|error| SpawnError::Program(error.into()))
    }
}

impl Stream {
    /// The descriptor to put in place; `None` leaves the inherited one.
    fn opened(self) -> Result<Option<OwnedFd>, SpawnError> {
        match self {
            Self::Inherit => Ok(None),
            Self::Is(descriptor) => Ok(Some(descriptor)),
            Self::Null => {
                let null = File::options().read(true).write(true).open("/dev/null");
                null.map(|null| Some(null.into())).map_err(host("open /dev/null"))
            }
        }
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { operation, source } => write!(f, "cannot {operation}: {}", reason(source)),
            // fork(2) and clone(2) say EAGAIN, which reads as if one had only to try again.
            Self::Program(error) if error.kind() == io::ErrorKind::WouldBlock => f.write_str(TOO_MANY),
            Self::Program(error) => reason(error).fmt(f),
        }
    }
}

const TOO_MANY: &str = "this user runs too many processes ('ulimit -u')";

impl std::error::Error for SpawnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Host { source, .. } | Self::Program(source) => Some(source),
        }
    }
}

/// execve(2) can't pass on an argument or a variable with a NUL in it.
impl From<NulError> for SpawnError {
    fn from(error: NulError) -> Self {
        host("pass its arguments and its environment on")(error)
    }
}

/// The status of a process that has ended; `None` if it was stopped or continued.
pub(crate) fn exit_status(status: WaitStatus) -> Option<(Pid, ExitStatus)> {
    match status {
        WaitStatus::Exited(pid, code) => Some((pid, ExitStatus::from_raw((code & 0xff) << 8))),
        WaitStatus::Signaled(pid, signal, _) => Some((pid, ExitStatus::from_raw(signal as i32))),
        _ => None,
    }
}

fn host<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> SpawnError {
    move |error| SpawnError::Host { operation, source: error.into() }
}

fn redirections(streams: &[Option<OwnedFd>]) -> nix::Result<PosixSpawnFileActions> {
    let mut actions = PosixSpawnFileActions::init()?;
    for (number, stream) in (0..).zip(streams) {
        if let Some(descriptor) = stream {
            actions.add_dup2(descriptor.as_raw_fd(), number)?;
        }
    }
    Ok(actions)
}

fn attributes(manner: Manner) -> nix::Result<PosixSpawnAttr> {
    let mut attributes = PosixSpawnAttr::init()?;
    let mut flags = PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF;
    match manner {
        Manner::OnItsOwn => {
            attributes.set_sigmask(&SigSet::empty())?;
            attributes.set_sigdefault(&SigSet::all())?;
            attributes.set_pgroup(Pid::from_raw(0))?;
            flags |= PosixSpawnFlags::POSIX_SPAWN_SETPGROUP;
        }
        Manner::InOurPlace(mask) => {
            attributes.set_sigmask(&mask)?;
            attributes.set_sigdefault(&SigSet::from(Signal::SIGPIPE))?; // Rust programs ignore it, others expect the default
        }
        Manner::DeafInOurGroup => attributes.set_sigmask(&SigSet::all())?,
    }
    attributes.set_flags(flags)?;
    Ok(attributes)
}

fn by_shell(path: &Path, arguments: Vec<CString>) -> Result<Vec<CString>, NulError> {
    let start = [c"sh".to_owned(), text(path.as_os_str().to_owned())?];
    Ok(start.into_iter().chain(arguments.into_iter().skip(1)).collect())
}

fn variable(mut name: OsString, value: &OsStr) -> Result<CString, NulError> {
    name.push("=");
    name.push(value);
    text(name)
}

fn text(text: OsString) -> Result<CString, NulError> {
    CString::new(text.into_vec())
}

const SHELL: &str = "/bin/sh";

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use nix::sys::wait::waitpid;

    use super::*;

    fn shell(script: &str) -> Recipe {
        Recipe::new("/bin/sh", vec!["sh".into(), "-c".into(), script.into()])
    }

    /// What a script writes, and how it ends.
    fn run(mut recipe: Recipe, manner: Manner) -> (String, ExitStatus) {
        let (mut reader, writer) = io::pipe().unwrap();
        recipe.streams([Stream::Null, Stream::Is(writer.into()), Stream::Null]);
        let pid = recipe.start(manner).unwrap();
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        (said, exit_status(waitpid(pid, None).unwrap()).unwrap().1)
    }

    #[test]
    fn signals_held_back_or_ignored_here_are_not_so_there() {
        let held = crate::signals::Signals::hold(&[Signal::SIGUSR2]).unwrap();
        let (said, _) = run(shell("grep -E '^Sig(Blk|Ign):' /proc/self/status"), Manner::OnItsOwn);
        drop(held);
        let masks = said.split_whitespace().filter_map(|word| u64::from_str_radix(word, 16).ok());
        // 32 and 33 are glibc's own; posix_spawn leaves them ignored.
        let masks: Vec<u64> = masks.map(|mask| mask & !(0b11 << 31)).collect();
        assert_eq!(masks, [0, 0], "{said}");
    }

    #[test]
    fn a_broken_pipe_ends_a_program_that_expects_it() {
        let (said, status) = run(shell("kill -PIPE $$; echo survived"), Manner::InOurPlace(SigSet::empty()));
        assert_eq!((said.as_str(), status.signal()), ("", Some(13)));
    }

    #[test]
    fn it_leads_a_group_when_it_is_on_its_own() {
        let (said, _) = run(shell("echo $$; ps -o pgid= -p $$"), Manner::OnItsOwn);
        let numbers: Vec<&str> = said.split_whitespace().collect();
        assert_eq!(numbers[0], numbers[1]);
    }

    #[test]
    fn the_environment_is_ours_with_changes() {
        let mut recipe = shell("echo \"$A $HOME ${PWD-none}\"; exit 7");
        recipe.set("A", "1").set("A", "2").set("HOME", "x").unset("PWD").set("PWD", "y").unset("PWD");
        assert!(recipe.environment().iter().any(|(name, _)| name == "PATH"));
        assert!(!recipe.environment().iter().any(|(name, _)| name == "PWD"));
        let (said, status) = run(recipe, Manner::OnItsOwn);
        assert!(said.starts_with("2 x"), "{said}");
        assert_eq!(status.code(), Some(7));
    }

    #[test]
    fn a_script_without_a_first_line_is_one_for_the_shell() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"echo script $1").unwrap();
        let path = file.into_temp_path();
        rustix::fs::chmod(&*path, rustix::fs::Mode::RWXU).unwrap();
        let (said, _) = run(Recipe::new(path.to_path_buf(), vec!["x".into(), "a".into()]), Manner::OnItsOwn);
        assert_eq!(said, "script a\n");
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let error = Recipe::new(directory.path().join("missing"), vec![]).start(Manner::OnItsOwn).unwrap_err();
        assert!(matches!(error, SpawnError::Program(error) if error.kind() == io::ErrorKind::NotFound));
    }
}
