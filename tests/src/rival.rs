//! Other brokers, which the same attacks are made on: those that speak D-Bus, if they are installed.

use std::{
    fs, io,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixDatagram, UnixListener},
    },
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{
    bench::find_program,
    broker::can,
    command::{Command, Running},
    dbus::DBusPeer,
    eventually::{SOON, eventually, eventually_some},
    proc,
};

/// A kind of broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The reference implementation.
    DBusDaemon,
    /// The one that most distributions start.
    DBusBroker,
}

/// A running broker. Root may own names and call everyone, other users may only call the broker itself.
#[derive(Debug)]
pub struct Rival {
    kind: Kind,
    running: Running,
    socket: PathBuf,
    _directory: TempDir,
    /// Where a broker expects the system's journal.
    _journal: UnixDatagram,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::DBusDaemon, Self::DBusBroker];

    /// The program.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::DBusDaemon => "dbus-daemon",
            Self::DBusBroker => "dbus-broker",
        }
    }

    /// Its version, as it says it, or `None` if it isn't installed or can't run here.
    #[must_use]
    pub fn version(self) -> Option<String> {
        let path = find_program(self.program())?;
        if self == Self::DBusBroker && !(find_program("dbus-broker-launch").is_some() && can("unshare --mount true")) {
            return None;
        }
        let said = Command::new(path, ["--version"]).run().stdout();
        said.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit())).map(str::to_owned)
    }

    /// Starts it, with its default limits for a system.
    ///
    /// # Errors
    /// Those of its directory.
    pub fn start(self) -> io::Result<Rival> {
        let directory = tempfile::Builder::new().prefix("ipcd-rival-").tempdir()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let (socket, config) = (directory.path().join("socket"), directory.path().join("config"));
        fs::write(&config, CONFIG.replace("SOCKET", &socket.display().to_string()))?;
        let journal = directory.path().join("journal");
        fs::create_dir(&journal)?;
        let journal = UnixDatagram::bind(journal.join("socket"))?;
        let running = match self {
            Self::DBusDaemon => daemon(&config).start(),
            Self::DBusBroker => launched(directory.path(), &socket, &config)?.start(),
        };
        let rival = Rival { kind: self, running, socket, _directory: directory, _journal: journal };
        eventually(SOON, "the broker answers", || DBusPeer::connect(rival.socket(), SOON).is_ok());
        Ok(rival)
    }
}

impl Rival {
    /// Where it is reached.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The process id of the broker itself.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let pid = self.running.pid();
        match self.kind {
            Kind::DBusDaemon => pid,
            Kind::DBusBroker => eventually_some(SOON, "the broker", || proc::children_of(pid).first().copied()),
        }
    }
}

fn daemon(config: &Path) -> Command {
    Command::new("dbus-daemon", ["--nofork", "--nopidfile", "--config-file"]).argument(config)
}

/// Its launcher takes the listener from a service manager, calls the system's bus, which may be the broker itself, and logs to the
/// journal. A mount namespace shows it ours.
fn launched(directory: &Path, socket: &Path, config: &Path) -> io::Result<Command> {
    let listener = UnixListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o666))?;
    let script =
        "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && mount --bind journal /run/systemd/journal &&
        export LISTEN_FDS=1 LISTEN_PID=$$ &&
        exec dbus-broker-launch --scope system --config-file \"$1\" 3<&0 0</dev/null";
    let command = Command::new("unshare", ["--mount", "sh", "-c", script, "sh"]).argument(config).directory(directory);
    let address = format!("unix:path={}", socket.display());
    Ok(command.env("DBUS_SYSTEM_BUS_ADDRESS", address).input_descriptor(listener))
}

const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <policy user="root">
    <allow own="*"/>
    <allow send_destination="*"/>
  </policy>
</busconfig>
"#;
