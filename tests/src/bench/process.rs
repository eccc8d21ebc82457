//! The processes of a bench: started on chosen CPUs, waited for, and killed when they are dropped.

use std::{
    ffi::OsStr,
    fmt,
    io::{self, BufRead, BufReader, Write},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
};

use super::machine::{pin, raise_descriptor_limit};

/// The CPUs that processes run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Everything on this CPU.
    One(usize),
    /// The broker on the first CPU, everything else on the second.
    Split(usize, usize),
    /// As the scheduler decides.
    Free,
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Placement {
    /// Restricts the caller and its children to the CPUs of everything but the broker, and raises their limit of descriptors as far
    /// as the system allows.
    pub fn enter(self) -> io::Result<()> {
        raise_descriptor_limit()?;
        match self {
            Self::One(cpu) | Self::Split(_, cpu) => pin(&[cpu]),
            Self::Free => Ok(()),
        }
    }

    /// Starts a process on the broker's CPUs.
    pub(super) fn start_broker(self, command: &mut Command) -> io::Result<Process> {
        let Self::Split(cpu, others) = self else { return Process::start(command) };
        pin(&[cpu])?;
        let process = Process::start(command);
        pin(&[others])?;
        process
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(cpu) => write!(f, "everything on CPU {cpu}"),
            Self::Split(broker, others) => write!(f, "brokers on CPU {broker}, everything else on CPU {others}"),
            Self::Free => f.write_str("unpinned"),
        }
    }
}

impl Process {
    /// Starts a process.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("cannot start {}: {error}", command.get_program().display()))
        })?;
        Ok(Self { child })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads a line of its standard output, which must be a pipe. A process writes it when it is ready.
    ///
    /// # Errors
    /// `UnexpectedEof` if it ended instead.
    pub fn wait_ready(&mut self) -> io::Result<String> {
        let stdout = self.child.stdout.as_mut().expect("standard output is a pipe");
        let mut line = String::new();
        match BufReader::new(stdout).read_line(&mut line)? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a process of the bench ended before it was ready")),
            _ => Ok(line),
        }
    }

    /// Waits until it ends, and returns its standard output. Fails unless it succeeds.
    pub(super) fn finish(mut self) -> io::Result<String> {
        let stdout = self.child.stdout.take().expect("standard output is a pipe");
        let text = io::read_to_string(stdout)?;
        let status = self.child.wait()?;
        if status.success() { Ok(text) } else { Err(io::Error::other(format!("a process of the bench: {status}"))) }
    }

    /// Its process handle, for signals.
    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only once the process has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program, to be started in another role.
pub(super) fn again(role: &str, stdin: Option<OwnedFd>) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([OsStr::new("--role"), OsStr::new(role)]).stdout(Stdio::piped());
    command.stdin(stdin.map_or_else(Stdio::null, Stdio::from));
    Ok(command)
}

/// Reports to the parent process that this one is ready.
pub(super) fn say_ready() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(b"ready\n")?;
    stdout.flush()
}
