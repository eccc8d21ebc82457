//! A broker for one test: the real `ipcd` in a directory of its own, or the same broker in a thread with `IPCD_TEST_IN_THREAD=1`.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    io::{self, BufRead, BufReader, PipeWriter},
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Stdio},
    thread::JoinHandle,
    time::Duration,
};

use ipc_protocol::{control, transport::Address};
use ipcd::{Config, Server};
use nix::sys::signal::{Signal, kill};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

use crate::{
    command::{Command, Running, process},
    eventually::{SOON, eventually, eventually_some, within},
    peer::Peer,
    proc,
    programs::Programs,
};

/// A broker that is ready. Dropping it kills it and removes its directory.
#[derive(Debug)]
pub struct Broker {
    directory: TempDir,
    socket: PathBuf,
    engine: Engine,
}

#[derive(Debug)]
enum Engine {
    Process(Daemon),
    Thread(Option<(PipeWriter, JoinHandle<io::Result<()>>)>),
}

/// The process of a broker.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Broker {
    /// Starts a broker with default limits.
    #[must_use]
    pub fn start() -> Self {
        Self::with_config("")
    }

    /// Starts a broker with a configuration file.
    #[must_use]
    pub fn with_config(toml: &str) -> Self {
        if std::env::var_os("IPCD_TEST_IN_THREAD").is_some_and(|value| value == "1") {
            Self::in_thread(toml)
        } else {
            Self::in_process(toml)
        }
    }

    /// Starts a broker in a process, whatever the environment says: for tests of signals, descriptors and crashes.
    #[must_use]
    pub fn in_process(toml: &str) -> Self {
        Self::launched_by(toml, Command::new(&Programs::get().ipcd, [""; 0]))
    }

    /// Starts a broker with a command that execs `ipcd` and passes on its arguments, `--socket PATH --config FILE`.
    #[must_use]
    pub fn launched_by(toml: &str, launcher: Command) -> Self {
        let (directory, socket) = place(toml);
        let daemon = Daemon::start(launcher, &socket, &config_of(&directory), &directory.path().join("ipcd.log"));
        Self { directory, socket, engine: Engine::Process(daemon) }
    }

    fn in_thread(toml: &str) -> Self {
        let (directory, socket) = place(toml);
        let address = Address::Path(socket.clone());
        let config =
            Config::load(&config_of(&directory), Some(address), || unreachable!()).expect("a good configuration");
        let server = Server::bind(config).expect("the directory is the test's own");
        // The daemon clears its umask. A thread must not, because the umask belongs to the process.
        for path in [socket.clone(), datagram_socket(&socket)] {
            let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o666)); // the datagram socket may be missing
        }
        let (stopped, stop) = io::pipe().expect("two descriptors");
        let thread = std::thread::spawn(move || server.run(OwnedFd::from(stopped)));
        Self { directory, socket, engine: Engine::Thread(Some((stop, thread))) }
    }

    /// Kills the process and starts another one at the same path.
    pub fn restart(&mut self) {
        self.daemon().expect("a thread cannot be killed").kill();
        self.start_again();
    }

    /// Starts a process at the path of one that has ended.
    pub fn start_again(&mut self) {
        let launcher = Command::new(&Programs::get().ipcd, [""; 0]);
        let log = self.directory().join("ipcd.log");
        self.engine = Engine::Process(Daemon::start(launcher, &self.socket, &self.config(), &log));
    }

    /// The path of its stream socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The path of its datagram socket.
    #[must_use]
    pub fn datagram_socket(&self) -> PathBuf {
        datagram_socket(&self.socket)
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::Path(self.socket.clone())
    }

    /// A directory for the test's files, open to all users.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file into the directory.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory().join(name);
        fs::write(&path, content).expect("the directory is the test's own");
        path
    }

    /// The path of its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        config_of(&self.directory)
    }

    /// Its process; `None` if it is a thread.
    #[must_use]
    pub fn daemon(&mut self) -> Option<&mut Daemon> {
        match &mut self.engine {
            Engine::Process(daemon) => Some(daemon),
            Engine::Thread(_) => None,
        }
    }

    /// `ipcctl` with arguments, connected to this broker.
    pub fn ipcctl(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        Command::ipcctl(arguments).socket(&self.socket).directory(self.directory())
    }

    /// One of the client library's examples with arguments, connected to this broker.
    #[must_use]
    pub fn example(&self, name: &str, arguments: &[&str]) -> Command {
        Command::new(Programs::get().example(name), arguments).socket(&self.socket).directory(self.directory())
    }

    /// A shell script whose `ipcctl` connects to this broker.
    #[must_use]
    pub fn shell(&self, script: &str) -> Command {
        Command::shell(script).socket(&self.socket).directory(self.directory())
    }

    /// The program `crowd`, named by `env!("CARGO_BIN_EXE_crowd")` in the test, with what it opens and how many.
    #[must_use]
    pub fn crowd(&self, program: &str, what: &str, count: usize) -> Command {
        Command::new(program, [OsStr::new(what), self.socket.as_os_str(), OsStr::new(&count.to_string())])
    }

    /// Starts `ipcctl serve` with `arguments` (options, name, `--`, command) and waits until `name` is offered.
    pub fn serve(&self, name: &str, arguments: &[&str]) -> Running {
        let service = self.ipcctl([&["serve"], arguments].concat()).start();
        self.wait_for(name);
        service
    }

    /// Waits until a name is offered.
    pub fn wait_for(&self, name: &str) {
        let _: control::Empty = Peer::connect(self).ask("wait", &serde_json::json!({ "name": name }));
    }

    /// The value of a counter, from `ipc.stats`.
    #[must_use]
    pub fn stat(&self, name: &str) -> u64 {
        let stats: control::Stats = Peer::connect(self).ask("stats", &control::Empty {});
        let row = stats.stats.iter().find(|row| row.name == name);
        row.unwrap_or_else(|| panic!("no counter {name}")).value
    }

    /// Waits until a counter has a value.
    #[track_caller]
    pub fn expect_stat(&self, name: &str, value: u64) {
        let what = format!("{name} = {value}");
        eventually(SOON, &what, || self.stat(name) == value);
    }

    /// The rows of `ipc.peers`.
    #[must_use]
    pub fn peers(&self) -> Vec<control::PeerRow> {
        let page: control::PeerPage = Peer::connect(self).ask("peers", &control::Peers::default());
        page.peers
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Engine::Thread(running) = &mut self.engine
            && let Some((stop, thread)) = running.take()
        {
            drop(stop); // wakes the broker at the other end
            let _ = thread.join(); // a panic in it fails the test elsewhere
        }
    }
}

impl Daemon {
    /// Starts a broker with a command that execs `ipcd` and passes on its arguments, and waits for its ready line.
    #[must_use]
    pub fn start(launcher: Command, socket: &Path, config: &Path, log: &Path) -> Self {
        let mut command = launcher.into_inner();
        command.arg("--socket").arg(socket).arg("--config").arg(config);
        if !rustix::process::geteuid().is_root() {
            command.arg("--no-sandbox"); // or a plain user couldn't count its descriptors
        }
        let stderr = fs::OpenOptions::new().create(true).append(true).open(log).expect("a file for the log");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().expect("ipcd can be started");
        let stdout = child.stdout.take().map(BufReader::new).expect("standard output is a pipe");
        let mut daemon = Self { child, stdout, log: log.to_owned() };
        let line = daemon.line();
        assert!(line.starts_with("ipcd: ready on "), "{line:?} {}", daemon.log());
        daemon
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The numbers of its open descriptors.
    #[must_use]
    pub fn descriptors(&self) -> BTreeSet<usize> {
        proc::descriptors(self.pid())
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until its log contains a text.
    #[track_caller]
    pub fn expect_log(&self, text: &str) {
        assert!(within(SOON, || self.log().contains(text)), "{text:?} is not in the log: {}", self.log());
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(process(self.pid()), signal).expect("it runs");
    }

    /// Stops it (SIGSTOP), and waits until it has stopped.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        eventually(SOON, "a stopped broker", || proc::state(self.pid()) == Some('T'));
    }

    /// Kills it (SIGKILL), and waits until it is dead.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.exit_code();
    }

    /// Waits until it ends, and returns its exit code, or 128 + N after signal N.
    #[track_caller]
    pub fn exit_code(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let child = &mut self.child;
        let status = eventually_some(SOON, "the end of ipcd", || child.try_wait().expect("a child can be waited for"));
        status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(-1)
    }

    fn line(&mut self) -> String {
        let pipe = self.stdout.get_ref();
        let mut ready = [PollFd::new(pipe, PollFlags::IN)];
        let patience = Timespec { tv_sec: i64::try_from(SOON.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
        assert_eq!(poll(&mut ready, Some(&patience)), Ok(1), "ipcd prints nothing: {}", self.log());
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a pipe can be read");
        line
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only once the process has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the kernel can refuse to deliver descriptors to a socket (SO_PASSRIGHTS, since Linux 6.16). If not, reports that the
/// test is skipped.
#[must_use]
pub fn keeps_descriptors_out() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel has a release");
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    let is_new = (numbers.next(), numbers.next()) >= (Some(6), Some(16));
    if !is_new {
        skip("this kernel is older than Linux 6.16");
    }
    is_new
}

/// Reports a skipped test on the real standard error, which cargo does not capture.
pub fn skip(why: &str) {
    use std::io::Write;
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(io::stderr(), "SKIP {test}: {why}");
}

/// Whether tests that repeat something run in their long version.
#[must_use]
pub fn is_soak() -> bool {
    std::env::var_os("IPCD_SOAK").is_some_and(|value| value == "1")
}

/// Whether the test runs as root. If not, reports that it is skipped.
#[must_use]
pub fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip("only root can be another user, or look into a broker");
    }
    is_root
}

/// Whether a script succeeds on this system. If not, reports that the test is skipped.
#[must_use]
pub fn can(script: &str) -> bool {
    let can = Command::shell(script).run().code == 0;
    if !can {
        skip(&format!("this system does not allow: {script}"));
    }
    can
}

/// The numbers of a crowd's connections that were welcomed, refused and lost.
#[must_use]
pub fn counts(line: &str) -> [usize; 3] {
    let counts = line.split_whitespace().filter_map(|word| word.split_once('=')?.1.parse().ok());
    counts.collect::<Vec<_>>().try_into().expect("a crowd prints three counts")
}

/// A user other than root and the broker's own, without an entry in passwd.
pub const STRANGER: u32 = 54_321;

/// Time for what a broker does at once.
pub const AT_ONCE: Duration = Duration::from_secs(5);

fn place(toml: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::Builder::new().prefix("ipcd-test-").tempdir().expect("a temporary directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("a directory of our own");
    fs::write(config_of(&directory), toml).expect("a directory of our own");
    let socket = directory.path().join("ipcd.sock");
    (directory, socket)
}

fn datagram_socket(socket: &Path) -> PathBuf {
    socket.with_extension("sock.dgram")
}

fn config_of(directory: &TempDir) -> PathBuf {
    directory.path().join("ipcd.toml")
}
