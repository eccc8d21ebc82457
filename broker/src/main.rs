//! `ipcd`: the daemon around the broker.
#![forbid(unsafe_code)]

mod arguments;
mod process;

use std::{fmt::Display, io, process::ExitCode};

use clap::Parser;
use ipc_protocol::{ErrorCode, transport::Address};
use ipcd::{
    Config, Server, Signals, StartError,
    server::{ClaimError, ConfigError, Notifier, SiteError, bytes_lowered, connections_lowered, plain, write_line},
};

use arguments::Arguments;

/// Why `ipcd` ends with an error.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot take signals: {}", plain(.0))]
    Signals(io::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the event loop failed: {}", plain(.0))]
    Loop(io::Error),
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.lines().iter().for_each(log);
            ExitCode::from(failure.code().exit())
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = configure(arguments)?;
    if arguments.check {
        return Ok(());
    }
    // A build that measures coverage writes a file at its end.
    let is_confined = !arguments.no_sandbox && !cfg!(coverage);
    if is_confined {
        process::shed_environment();
        process::harden();
    }
    let signals = Signals::block().map_err(Failure::Signals)?;
    process::set_file_limits();
    let (address, wanted) = (config.socket.clone(), config.limits.clone());
    let server = Server::bind_or_inherit(config)?;
    // A manager that can't be reached is no reason not to serve.
    let notifier = Notifier::from_environment().unwrap_or_default();
    if is_confined {
        server.sandbox().enter().iter().for_each(log);
    }
    let connections = connections_lowered(wanted.connections, server.connections());
    let bytes = bytes_lowered(wanted.bytes_total, server.bytes_total());
    announce(&address, connections.into_iter().chain(bytes), &notifier);
    server.run_until_signal(signals, notifier).map_err(Failure::Loop)
}

impl Failure {
    fn lines(&self) -> Vec<String> {
        match self {
            Self::Config(ConfigError::File(error)) => error.lines(),
            other => vec![other.to_string()],
        }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Signals(_) | Self::Loop(_) => ErrorCode::INTERNAL,
            // A path in use has an exit code of its own.
            Self::Start(StartError::Site(SiteError::Claim(ClaimError::Taken { .. } | ClaimError::InUse { .. }))) => {
                ErrorCode::NAME_TAKEN
            }
            Self::Config(_) | Self::Start(_) => ErrorCode::CONFIG,
        }
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

/// Announces that the sockets are open: a line for people and scripts, READY=1 for a service manager. Before that, which limits had
/// to be lowered.
fn announce(address: &Address, lowered: impl Iterator<Item = String>, notifier: &Notifier) {
    lowered.for_each(log);
    // Standard output may be closed or full, and there may be no service manager: none of that matters.
    let _ = write_line(io::stdout(), &format!("ipcd: ready on {address} (pid {})", std::process::id()));
    let _ = notifier.ready();
}

/// Writes a line to the log. If standard error is closed or full, there is nowhere else to write.
fn log(line: impl Display) {
    let _ = write_line(io::stderr(), &format!("ipcd: {line}"));
}
