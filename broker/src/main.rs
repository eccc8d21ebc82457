//! `ipcd`: the daemon around the broker.
#![forbid(unsafe_code)]

use std::{ffi::OsString, io, path::PathBuf, process::ExitCode};

use clap::Parser;
use ipc_protocol::{ErrorCode, transport::Address};
use ipcd::{
    Config, Server, Signals, StartError,
    server::{ClaimError, ConfigError, notify_ready, write_line},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A local IPC broker: routes calls between processes over AF_UNIX sockets.
#[derive(Debug, Parser)]
#[command(name = "ipcd", version, after_help = EXAMPLES)]
struct Arguments {
    /// Where to listen: a path, @name (abstract) or fd:N (an inherited listening socket). Without it: the configuration file's
    /// 'socket', $IPCD_SOCKET, $XDG_RUNTIME_DIR/ipcd/ipcd.sock, /run/ipcd/ipcd.sock for root, /tmp/ipcd-UID/ipcd.sock
    #[arg(short, long, value_name = "PATH")]
    socket: Option<OsString>,
    /// Do not open the datagram socket (PATH.dgram)
    #[arg(long)]
    no_datagram: bool,
    /// TOML file with 'socket', 'datagram' and a section 'limits'; read again on SIGHUP
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Log connections as they come and go
    #[arg(short, long)]
    verbose: bool,
}

const EXAMPLES: &str = "\
Signals: TERM or INT lets running calls finish for 5 s, a second one ends at once; HUP reads the configuration again.

Example:
  ipcd --socket /run/user/1000/ipcd.sock &
  IPCD_SOCKET=/run/user/1000/ipcd.sock ipcctl list";

fn main() -> ExitCode {
    match serve(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, text)) => {
            // Standard error may be closed or full: there is nowhere else to write.
            text.lines().for_each(|line| drop(write_line(io::stderr(), &format!("ipcd: {line}"))));
            ExitCode::from(code.exit())
        }
    }
}

fn serve(arguments: &Arguments) -> Result<(), (ErrorCode, String)> {
    let config = configure(arguments).map_err(|error| (ErrorCode::CONFIG, error.to_string()))?;
    let signals = Signals::block().map_err(|error| (ErrorCode::INTERNAL, format!("cannot take signals: {error}")))?;
    // The modes of sockets, lock file and directories are all given explicitly: a umask would only take the socket's away.
    rustix::process::umask(rustix::fs::Mode::empty());
    raise_open_files();
    let (address, wanted) = (config.socket.clone(), config.limits.connections);
    let server = Server::bind_or_inherit(config).map_err(|error| (code_of(&error), error.to_string()))?;
    announce(&address, server.connections(), wanted);
    server.run_until_signal(signals).map_err(|error| (ErrorCode::INTERNAL, format!("the event loop failed: {error}")))
}

/// A connection is a descriptor: takes all that the hard limit allows. The soft limit is low for programs that use select(2), and
/// only this program knows that it doesn't: the broker as a library leaves the process around it alone.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // It fails where a sandbox forbids it. The soft limit then stays, and fewer connections have a place.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// A path that somebody else serves is told apart from one that cannot be served.
fn code_of(error: &StartError) -> ErrorCode {
    match error {
        StartError::Claim(ClaimError::Taken { .. } | ClaimError::InUse { .. }) => ErrorCode::NAME_TAKEN,
        _ => ErrorCode::CONFIG,
    }
}

fn configure(arguments: &Arguments) -> Result<Config, ConfigError> {
    let uid = rustix::process::geteuid().as_raw();
    let default = || Address::from_environment(|name| std::env::var_os(name), uid);
    let socket = arguments.socket.as_deref().map(Address::parse).transpose()?;
    let mut config = match (&arguments.config, socket) {
        (Some(file), socket) => Config::load(file, socket, default)?,
        (None, Some(socket)) => Config::new(socket),
        (None, None) => Config::new(default()?),
    };
    config.datagram &= !arguments.no_datagram;
    config.verbose = arguments.verbose;
    Ok(config)
}

/// Tells who started us: a line for people and scripts, READY=1 for a service manager, and how many connections there is place for if
/// that is less than was wanted.
fn announce(address: &Address, connections: u64, wanted: u64) {
    if connections < wanted {
        let reason = "this process may open too few files (RLIMIT_NOFILE)";
        let line = format!("ipcd: event=connections_lowered from={wanted} to={connections} reason={reason:?}");
        let _ = write_line(io::stderr(), &line);
    }
    // Standard output may be closed or full, and there may be no service manager: all are fine.
    let _ = write_line(io::stdout(), &format!("ipcd: ready on {address} (pid {})", std::process::id()));
    let _ = notify_ready();
}
