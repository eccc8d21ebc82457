//! `ipcd`: the daemon around the broker.
#![forbid(unsafe_code)]

use std::{
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use ipc_protocol::{ErrorCode, transport::Address};
use ipcd::{
    Config, Server, Signals, StartError,
    server::{ClaimError, ConfigError},
};

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
            // Standard error may be closed: there is nowhere else to write.
            text.lines().for_each(|line| drop(writeln!(io::stderr(), "ipcd: {line}")));
            ExitCode::from(code.exit())
        }
    }
}

fn serve(arguments: &Arguments) -> Result<(), (ErrorCode, String)> {
    let config = configure(arguments).map_err(|error| (ErrorCode::CONFIG, error.to_string()))?;
    let signals = Signals::block().map_err(|error| (ErrorCode::INTERNAL, format!("cannot take signals: {error}")))?;
    // The modes of sockets, lock file and directories are all given explicitly: a umask would only take the socket's away.
    rustix::process::umask(rustix::fs::Mode::empty());
    let address = config.socket.clone();
    let server = Server::bind_or_inherit(config).map_err(|error| (code_of(&error), error.to_string()))?;
    announce(&address);
    server.run_until_signal(signals).map_err(|error| (ErrorCode::INTERNAL, format!("the event loop failed: {error}")))
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

/// Tells whoever started us: a line for people and scripts, READY=1 for a service manager.
fn announce(address: &Address) {
    let mut stdout = io::stdout();
    // Standard output may be closed, and there may be no service manager: both are fine.
    let _ = writeln!(stdout, "ipcd: ready on {address} (pid {})", std::process::id()).and_then(|()| stdout.flush());
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}
