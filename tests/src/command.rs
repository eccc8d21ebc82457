//! Commands as a test runs them: with a deadline, everything they write kept, and gone when the test is.

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

/// A command that has not started.
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

/// A command that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
    started: Instant,
    patience: Duration,
    stdout: Collected,
    stderr: Collected,
}

/// What comes out of a pipe, while it comes.
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
    /// Exit code as the shell sees it: 128 + N after signal N.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
}

impl Command {
    /// A program with its arguments. The programs under test are found first, and nothing of the test's own environment leads
    /// to a broker.
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

    /// One more argument.
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

    /// The broker that it finds.
    #[must_use]
    pub fn socket(self, socket: impl AsRef<OsStr>) -> Self {
        self.env("IPCD_SOCKET", socket)
    }

    /// Where it starts.
    #[must_use]
    pub fn directory(mut self, directory: &Path) -> Self {
        self.inner.current_dir(directory);
        self
    }

    /// What it reads from standard input; nothing by default.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// A pipe to which [`Running::write`] writes.
    #[must_use]
    pub fn interactive(mut self) -> Self {
        self.input = Input::Open;
        self
    }

    /// A descriptor as its standard input: a shell can move it to any number.
    #[must_use]
    pub fn input_descriptor(mut self, descriptor: impl Into<OwnedFd>) -> Self {
        self.input = Input::Descriptor(descriptor.into());
        self
    }

    /// Runs as another user, without further groups. Only root can.
    #[must_use]
    pub fn user(mut self, uid: u32) -> Self {
        self.inner.uid(uid).gid(uid);
        self
    }

    /// Runs in a process group of its own, as in an interactive shell: a signal to the group is Ctrl-C.
    #[must_use]
    pub fn own_group(mut self) -> Self {
        self.inner.process_group(0);
        self
    }

    /// How long it may take, instead of 40 s.
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
            // It may end without reading all of it.
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

    /// Runs it to its end, which must be a good one, and returns what it printed.
    #[track_caller]
    pub fn prints(self) -> Vec<u8> {
        let finished = self.run();
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{:?}", finished.stdout());
        finished.stdout
    }

    /// Like [`Command::prints`], as text.
    ///
    /// # Panics
    /// As [`Command::prints`].
    #[track_caller]
    pub fn prints_text(self) -> String {
        String::from_utf8(self.prints()).expect("it prints text")
    }
}

impl Running {
    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to it.
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

    /// Writes to its standard input, which is [`Command::interactive`].
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.child.stdin.as_mut().expect("it is interactive");
        stdin.write_all(bytes).and_then(|()| stdin.flush()).expect("it reads");
    }

    /// Ends its standard input.
    pub fn end_input(&mut self) {
        self.child.stdin = None;
    }

    /// Waits for its end.
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

    /// Waits until it has printed a text, and returns everything that it has printed so far.
    #[track_caller]
    pub fn expect_output(&self, text: &str) -> String {
        let what = format!("{text:?} from {}", self.name);
        eventually_some(SOON, &what, || Some(self.stdout.so_far()).filter(|so_far| so_far.contains(text)))
    }

    /// Waits until it has said a text on standard error.
    #[track_caller]
    pub fn expect_error(&self, text: &str) {
        let what = format!("{text:?} on standard error of {}", self.name);
        eventually(SOON, &what, || self.stderr.so_far().contains(text));
    }

    /// What it has said on standard error so far.
    #[must_use]
    pub fn error_so_far(&self) -> String {
        self.stderr.so_far()
    }

    /// Whether it still runs.
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
        // A service lets its handlers finish when it is asked to end, and ends them when it is asked again. Killed, it could not.
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
    /// What it printed, as text.
    #[must_use]
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Asserts that it failed with `code`, printed nothing, and said one line on standard error, which is returned.
    #[track_caller]
    pub fn refused(&self, code: i32) -> &str {
        assert_eq!((self.code, self.stdout().as_str()), (code, ""), "{}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "one line on standard error: {}", self.stderr);
        self.stderr.trim_end()
    }
}

/// A process id as system calls want it.
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
            // What could be read is told, whatever ends it.
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

    /// All of it, once the other end is closed everywhere.
    #[track_caller]
    fn all(&self) -> Vec<u8> {
        eventually(SOON, "the end of its standard output and error, which a process that it left may hold", || {
            self.0.lock().expect("its holders don't panic").is_complete
        });
        std::mem::take(&mut self.0.lock().expect("its holders don't panic").bytes)
    }
}
