//! Commands that a test runs: each has a deadline, its output is kept, and it ends with the test.

use std::{
    ffi::OsStr,
    fs::File,
    io::{Read, Write},
    os::{
        fd::OwnedFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::{Child, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    eventually::{SOON, eventually, eventually_some, within},
    programs::Programs,
};

/// A command that has not been started.
#[derive(Debug)]
pub struct Command {
    inner: std::process::Command,
    input: Input,
    patience: Duration,
}

#[derive(Debug)]
enum Input {
    Nothing,
    Bytes(Vec<u8>),
    Open,
    Descriptor(OwnedFd),
}

/// A running command. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
    started: Instant,
    patience: Duration,
    stdout: Collected,
    stderr: Collected,
}

/// The output read from a pipe so far.
#[derive(Debug, Default)]
struct Collected(Arc<Mutex<Stream>>);

#[derive(Debug, Default)]
struct Stream {
    bytes: Vec<u8>,
    is_complete: bool,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit code as a shell sees it: 128 + N after signal N.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
    /// Time from its start to its end.
    pub took: Duration,
}

impl Command {
    /// A program with its arguments. The programs under test come first in PATH, and no variable of the test's own environment
    /// points to a broker.
    pub fn new(program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut inner = std::process::Command::new(program);
        inner.args(arguments).env("PATH", Programs::get().search_path());
        ["IPCD_SOCKET", "XDG_RUNTIME_DIR", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"].iter().for_each(|name| {
            inner.env_remove(name);
        });
        Self { inner, input: Input::Nothing, patience: SOON * 2 }
    }

    /// `ipcctl` with arguments.
    pub fn ipcctl(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self::new(&Programs::get().ipcctl, arguments)
    }

    /// A shell script.
    pub fn shell(script: &str) -> Self {
        Self::new("sh", ["-c", script])
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.inner.arg(argument);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Sets the broker that it connects to.
    #[must_use]
    pub fn socket(self, socket: impl AsRef<OsStr>) -> Self {
        self.env("IPCD_SOCKET", socket)
    }

    /// Sets its working directory.
    #[must_use]
    pub fn directory(mut self, directory: &Path) -> Self {
        self.inner.current_dir(directory);
        self
    }

    /// Sets its standard input, which is empty by default.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Makes its standard input a pipe that [`Running::write`] writes to.
    #[must_use]
    pub fn interactive(mut self) -> Self {
        self.input = Input::Open;
        self
    }

    /// Passes a descriptor as its standard input. A shell can move it to any number.
    #[must_use]
    pub fn input_descriptor(mut self, descriptor: impl Into<OwnedFd>) -> Self {
        self.input = Input::Descriptor(descriptor.into());
        self
    }

    /// Runs it as another user without supplementary groups, which takes root.
    #[must_use]
    pub fn user(mut self, uid: u32) -> Self {
        self.inner.uid(uid).gid(uid);
        self
    }

    /// Runs it in a process group of its own, as an interactive shell does: Ctrl-C signals the group.
    #[must_use]
    pub fn own_group(mut self) -> Self {
        self.inner.process_group(0);
        self
    }

    /// Sets its deadline, 40 s by default.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The standard library's command, with nothing set for its descriptors.
    pub fn into_inner(self) -> std::process::Command {
        self.inner
    }

    /// Starts it.
    #[track_caller]
    pub fn start(mut self) -> Running {
        let name = format!("{:?}", self.inner);
        let (stdin, bytes) = match self.input {
            Input::Nothing => (Stdio::null(), None),
            Input::Bytes(bytes) => (Stdio::piped(), Some(bytes)),
            Input::Open => (Stdio::piped(), None),
            Input::Descriptor(descriptor) => (descriptor.into(), None),
        };
        self.inner.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = self.inner.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        if let Some(bytes) = bytes
            && let Some(mut stdin) = child.stdin.take()
        {
            // The command may end before it has read everything.
            std::thread::spawn(move || stdin.write_all(&bytes));
        }
        let stdout = Collected::from(child.stdout.take().map(OwnedFd::from));
        let stderr = Collected::from(child.stderr.take().map(OwnedFd::from));
        Running { child, name, started, patience: self.patience, stdout, stderr }
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Finished {
        self.start().finish()
    }

    /// Runs it and returns its output. Panics unless it succeeds with nothing on standard error.
    #[track_caller]
    pub fn prints(self) -> Vec<u8> {
        let finished = self.run();
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{:?}", finished.stdout());
        finished.stdout
    }

    /// Like [`Command::prints`], as text.
    #[track_caller]
    pub fn prints_text(self) -> String {
        String::from_utf8(self.prints()).expect("it prints text")
    }
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(process(self.pid()), signal).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Sends a signal to its whole process group, as the terminal does.
    #[track_caller]
    pub fn signal_group(&self, signal: Signal) {
        let group = Pid::from_raw(-process(self.pid()).as_raw());
        kill(group, signal).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Writes to the standard input of a command that is [`Command::interactive`].
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.child.stdin.as_mut().expect("it is interactive");
        stdin.write_all(bytes).and_then(|()| stdin.flush()).expect("it reads");
    }

    /// Closes its standard input.
    pub fn end_input(&mut self) {
        self.child.stdin = None;
    }

    /// Waits until it ends.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        let status = self.wait();
        let took = self.started.elapsed();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Finished {
            code: status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(-1),
            signal: status.signal(),
            stdout: self.stdout.all(),
            stderr: text(self.stderr.all()),
            took,
        }
    }

    /// Waits until its output contains a text, and returns all output so far.
    #[track_caller]
    pub fn expect_output(&self, text: &str) -> String {
        let what = format!("{text:?} from {}", self.name);
        eventually_some(SOON, &what, || Some(self.stdout.so_far()).filter(|so_far| so_far.contains(text)))
    }

    /// Waits until its standard error contains a text.
    #[track_caller]
    pub fn expect_error(&self, text: &str) {
        let what = format!("{text:?} on standard error of {}", self.name);
        eventually(SOON, &what, || self.stderr.so_far().contains(text));
    }

    /// Its output so far.
    #[must_use]
    pub fn output_so_far(&self) -> String {
        self.stdout.so_far()
    }

    /// Its standard error so far.
    #[must_use]
    pub fn error_so_far(&self) -> String {
        self.stderr.so_far()
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        let child = &mut self.child;
        eventually_some(self.patience, &what, || child.try_wait().expect("a child can be waited for"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_running() {
            return;
        }
        // A first TERM lets a service's handlers finish, a second one ends them. SIGKILL would leave them running.
        let _ = kill(process(self.pid()), Signal::SIGCONT);
        for patience in [Duration::from_millis(100), Duration::from_secs(3)] {
            let _ = kill(process(self.pid()), Signal::SIGTERM);
            if within(patience, || !self.is_running()) {
                return;
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// Its output as text.
    #[must_use]
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Asserts that it failed with `code` and no output, and returns the one line on its standard error.
    #[track_caller]
    pub fn refused(&self, code: i32) -> &str {
        assert_eq!((self.code, self.stdout().as_str()), (code, ""), "{}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "one line on standard error: {}", self.stderr);
        self.stderr.trim_end()
    }
}

/// Converts a process id for system calls.
#[must_use]
pub fn process(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("the kernel's pids fit"))
}

impl Collected {
    fn from(pipe: Option<OwnedFd>) -> Self {
        let collected = Self::default();
        let (stream, pipe) = (collected.0.clone(), pipe.map(File::from).expect("it is a pipe"));
        std::thread::spawn(move || {
            let mut pipe = pipe;
            let mut chunk = vec![0; 65_536];
            // A read error ends the output, and what was read before counts.
            while let Ok(len @ 1..) = pipe.read(&mut chunk) {
                stream.lock().expect("its holders don't panic").bytes.extend_from_slice(&chunk[..len]);
            }
            stream.lock().expect("its holders don't panic").is_complete = true;
        });
        collected
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("its holders don't panic").bytes).into_owned()
    }

    /// The complete output, once every process has closed the other end.
    #[track_caller]
    fn all(&self) -> Vec<u8> {
        eventually(SOON, "the end of its output, which a process it left behind may hold open", || {
            self.0.lock().expect("its holders don't panic").is_complete
        });
        std::mem::take(&mut self.0.lock().expect("its holders don't panic").bytes)
    }
}
