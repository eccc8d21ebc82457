//! The libraries, and the broker and the service that each is measured with.

use std::{
    env,
    net::{Ipv4Addr, TcpListener},
    process::{Command, Stdio},
    time::Duration,
};

use ipc_tests::{
    bench::{Process, find_program},
    eventually::{SOON, eventually_some},
    programs::Programs,
    rival::{Kind, Rival},
};
use tempfile::TempDir;

use crate::{Result, dbus, ipc, load::Outcome, nats};

/// A way to make typed calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Library {
    /// The frames of ipcd, without a library.
    Raw,
    /// ipc-client: a type that is a method.
    Plain,
    /// ipc-client: a trait, whose handler runs where it was read.
    Trait,
    /// ipc-client: a trait, whose handler runs on the pool.
    Pool,
    /// ipc-client: a trait, called with futures; the service is that of `Trait`.
    Future,
    /// ipc-client: a trait, called and served with futures.
    Async,
    /// async-nats.
    Nats,
    /// zbus and dbus-broker.
    Zbus,
    /// zbus and dbus-daemon.
    ZbusDaemon,
}

/// A broker and a service that run.
pub struct Scene {
    address: String,
    _service: Process,
    _broker: Broker,
    _directory: TempDir,
}

enum Broker {
    Process { _process: Process },
    Rival { _rival: Rival },
}

impl Library {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 9] = [
        Self::Raw,
        Self::Plain,
        Self::Trait,
        Self::Pool,
        Self::Future,
        Self::Async,
        Self::Nats,
        Self::Zbus,
        Self::ZbusDaemon,
    ];

    /// Its title in the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Raw => "ipcd, raw frames of 64 B",
            Self::Plain => "ipc-client, a plain method",
            Self::Trait => "ipc-client, a trait",
            Self::Pool => "ipc-client, a trait, handler on the pool",
            Self::Future => "ipc-client, a trait, async client",
            Self::Async => "ipc-client, a trait, async client and service",
            Self::Nats => "async-nats",
            Self::Zbus => "zbus, dbus-broker",
            Self::ZbusDaemon => "zbus, dbus-daemon",
        }
    }

    /// Answers calls until it is killed.
    pub fn serve(self, address: &str) -> Result<()> {
        match self {
            Self::Raw => ipc::serve_raw(address),
            Self::Plain | Self::Trait | Self::Pool | Self::Future => ipc::serve(address),
            Self::Async => ipc::serve_async(address),
            Self::Nats => nats::serve(address),
            Self::Zbus | Self::ZbusDaemon => dbus::serve(address),
        }
    }

    /// Makes calls.
    pub fn measure(self, address: &str, time: Duration) -> Result<Outcome> {
        match self {
            Self::Raw => ipc::call_raw(address, time),
            Self::Plain => ipc::call_plain(address, time),
            Self::Trait => ipc::call(address, time),
            Self::Pool => ipc::call_pool(address, time),
            Self::Future => ipc::call_with_futures(address, time),
            Self::Async => ipc::call_async(address, time),
            Self::Nats => nats::call(address, time),
            Self::Zbus | Self::ZbusDaemon => dbus::call(address, time),
        }
    }

    fn broker(self, directory: &TempDir) -> Result<(Broker, String)> {
        let (mut command, address) = match self {
            Self::Zbus => return rival(Kind::DBusBroker),
            Self::ZbusDaemon => return rival(Kind::DBusDaemon),
            Self::Nats => {
                let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
                let server = find_program("nats-server").ok_or("nats-server isn't installed")?;
                let mut command = Command::new(server);
                command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
                (command, format!("127.0.0.1:{port}"))
            }
            _ => {
                let socket = directory.path().join("socket");
                let mut command = Command::new(&Programs::get().ipcd);
                command.arg("--socket").arg(&socket);
                (command, socket.display().to_string())
            }
        };
        let process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
        Ok((Broker::Process { _process: process }, address))
    }

    fn word(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

impl Scene {
    /// Starts the broker and the service.
    pub fn set(library: Library) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (broker, address) = library.broker(&directory)?;
        let mut command = Command::new(env::current_exe()?);
        command.args(["serve", &library.word(), &address]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut service = Process::start(&mut command)?;
        service.wait_ready()?;
        Ok(Self { address, _service: service, _broker: broker, _directory: directory })
    }

    /// Runs a client.
    pub fn measure(&self, library: Library, millis: u64) -> Result<Outcome> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["call", &library.word(), &self.address, &millis.to_string()]).stderr(Stdio::inherit());
        let output = command.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            return Err(format!("the client of {}: {}", library.title(), output.status).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

fn rival(kind: Kind) -> Result<(Broker, String)> {
    kind.version().ok_or_else(|| format!("{} can't run here", kind.program()))?;
    let rival = kind.start()?;
    let address = format!("unix:path={}", rival.socket().display());
    Ok((Broker::Rival { _rival: rival }, address))
}

/// Tells the parent process that the service is there.
pub fn say_ready() {
    println!("ready");
}

/// Tries until the broker listens: not each of them tells when it does.
pub fn once_it_listens<T, E>(mut connect: impl FnMut() -> std::result::Result<T, E>) -> T {
    eventually_some(SOON, "the broker listens", || connect().ok())
}
