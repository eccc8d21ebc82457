//! The brokers that are measured, and how each is started.

use std::{
    env, fs, io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    dialect::{Dialect, Floor},
    intake::{Intake, write_all},
    metric::Metric,
    process::{Placement, Process, again},
    role::Task,
};

/// One column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Contender {
    /// The minimal epoll relay.
    Floor,
    /// A socket pair without a broker.
    Direct,
    /// ipcd through its raw protocol.
    Ipcd,
    /// ipcd through JSON-RPC.
    Json,
    /// ipcd through the client library, typed.
    Client,
    /// Redis PUBLISH/SUBSCRIBE.
    Redis,
    /// NATS.
    Nats,
}

/// Our own programs among the measured ones.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The daemon.
    pub ipcd: PathBuf,
    /// Further arguments for the daemon.
    pub ipcd_arguments: Vec<String>,
}

/// What a connection is made to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Place {
    /// A unix stream socket.
    Path(PathBuf),
    /// A TCP port on the loopback interface.
    Port(u16),
    /// The connected socket that is this process's standard input.
    Stdin,
}

/// A started broker.
#[derive(Debug)]
pub(super) struct Broker {
    /// `None` for the socket pair, which needs no broker.
    pub process: Option<Process>,
    pub place: Place,
}

impl Contender {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 7] =
        [Self::Floor, Self::Direct, Self::Ipcd, Self::Json, Self::Client, Self::Redis, Self::Nats];

    /// Its title in the table.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Floor => "floor relay",
            Self::Direct => "direct socket",
            Self::Ipcd => "ipcd, raw",
            Self::Json => "ipcd, JSON-RPC",
            Self::Client => "ipcd, ipc-client",
            Self::Redis => "Redis pub/sub",
            Self::Nats => "NATS",
        }
    }

    /// The program that has to be installed for it, unless it is our own.
    #[must_use]
    pub fn program(self) -> Option<&'static str> {
        match self {
            Self::Floor | Self::Direct | Self::Ipcd | Self::Json | Self::Client => None,
            Self::Redis => Some("redis-server"),
            Self::Nats => Some("nats-server"),
        }
    }

    /// Whether its program is installed.
    #[must_use]
    pub fn is_installed(self) -> bool {
        self.program().is_none_or(|program| find_program(program).is_some())
    }

    /// Whether a metric makes sense for it.
    #[must_use]
    pub fn has(self, metric: Metric) -> bool {
        match metric {
            Metric::Add => self == Self::Client,
            Metric::Connections64 | Metric::Connections512 => !matches!(self, Self::Direct | Self::Client),
            Metric::Fan1 | Metric::Fan64 => !matches!(self, Self::Direct | Self::Client),
            // The body and what is around it are longer together than a message may be.
            Metric::Bulk => self != Self::Json,
            Metric::RoundTrip64 | Metric::RoundTrip4k | Metric::Window64 => true,
        }
    }

    /// Whether there is a broker whose CPU, memory and system calls can be counted.
    #[must_use]
    pub fn has_broker(self) -> bool {
        self != Self::Direct
    }

    /// Starts its broker in an empty `directory`.
    pub(super) fn start(self, directory: &Path, tools: &Tools, placement: Placement) -> io::Result<Broker> {
        let socket = directory.join("socket");
        let port = free_port()?;
        let mut command = match self {
            Self::Direct => return Ok(Broker { process: None, place: Place::Stdin }),
            Self::Floor => again(&Task::Relay(socket.clone()).to_argument(), None)?,
            Self::Ipcd | Self::Json | Self::Client => tools.ipcd(&socket)?,
            Self::Redis => redis(&socket),
            Self::Nats => nats(port),
        };
        let mut process = placement.start_broker(command.current_dir(directory))?;
        let place = if self == Self::Nats { Place::Port(port) } else { Place::Path(socket) };
        match self {
            Self::Floor | Self::Ipcd | Self::Json | Self::Client => drop(process.wait_ready()?),
            Self::Direct | Self::Redis | Self::Nats => place.wait_until_open()?,
        }
        Ok(Broker { process: Some(process), place })
    }
}

impl Contender {
    /// Waits until the broker has accepted all connections. Without a handshake, a frame goes from the last one to the first.
    pub(super) fn wait_for_last(self, connections: &[OwnedFd]) -> io::Result<()> {
        let (Self::Floor, [first, .., last]) = (self, connections) else { return Ok(()) };
        let mut frame = Vec::new();
        Floor.put_call(&mut frame, b"last");
        write_all(last.as_fd(), &frame)?;
        Intake::new(64).wait_and_read(first.as_fd()).map(drop)
    }
}

impl Tools {
    /// The programs to measure: those given, or else those that cargo builds in the release profile.
    pub fn find(ipcd: Option<PathBuf>, ipcd_arguments: Vec<String>) -> io::Result<Self> {
        let ipcd = match ipcd {
            Some(ipcd) => ipcd.canonicalize()?,
            None => build("ipcd", "ipcd")?,
        };
        Ok(Self { ipcd, ipcd_arguments })
    }

    /// The command-line tool that cargo builds in the release profile, and that of the release archive if `dist/build.sh` has
    /// built it.
    pub fn ipcctl() -> io::Result<Vec<PathBuf>> {
        let release = build("ipcctl", "ipcctl")?;
        let target = release.parent().and_then(Path::parent).unwrap_or(&release);
        let archived = fs::read_dir(target)?.flatten().map(|entry| entry.path().join("dist/ipcctl"));
        let archived: Vec<PathBuf> = archived.filter(|path| path.is_file()).collect();
        Ok([vec![release], archived].concat())
    }

    fn ipcd(&self, socket: &Path) -> io::Result<Command> {
        let config = socket.with_file_name("ipcd.toml");
        // A user may have 512 connections by default. The benches open more.
        fs::write(&config, "[limits]\nconnections_per_uid = 4096\n")?;
        let mut command = Command::new(&self.ipcd);
        command.arg("--socket").arg(socket).arg("--config").arg(config).args(&self.ipcd_arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Ok(command)
    }
}

impl Place {
    /// The path of a unix socket.
    pub(super) fn path(&self) -> io::Result<&Path> {
        match self {
            Self::Path(path) => Ok(path),
            Self::Port(_) | Self::Stdin => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    pub(super) fn connect(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Path(path) => Ok(UnixStream::connect(path)?.into()),
            Self::Port(port) => {
                let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, *port))?;
                socket.set_nodelay(true)?;
                Ok(socket.into())
            }
            Self::Stdin => io::stdin().as_fd().try_clone_to_owned(),
        }
    }

    /// Connects as soon as the broker listens, by trying: not every broker reports that it is ready.
    fn wait_until_open(&self) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match self.connect() {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

/// The path of a program in `PATH` or the directories for daemons.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    directories.map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Builds a program of the workspace, so that the bench measures the present sources.
fn build(package: &str, program: &str) -> io::Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--release", "--package", package, "--bin", program]);
    let status = command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).status()?;
    // A bench is in target/release/deps, the program one directory above.
    let path = env::current_exe()?.parent().and_then(Path::parent).map(|directory| directory.join(program));
    path.filter(|path| status.success() && path.is_file())
        .ok_or_else(|| io::Error::other(format!("cargo did not build {program}; name it with --{program}")))
}

fn redis(socket: &Path) -> Command {
    let mut command = Command::new(find_program("redis-server").unwrap_or_default());
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--maxclients", "4096", "--unixsocket"]);
    command.arg(socket).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn nats(port: u16) -> Command {
    let mut command = Command::new(find_program("nats-server").unwrap_or_default());
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
