//! A broker in a thread of this process, with a directory of its own.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use ipc_client::{Address, Bell, ErrorCode};
use ipcd::{Config, Server};
use rustix::{
    event::{EventfdFlags, eventfd},
    io::{DupFlags, FdFlags},
};

use super::directory::Directory;
use crate::problem::{Problem, Result};

/// A running broker. Stopping it removes its directory.
#[derive(Debug)]
pub(crate) struct Broker {
    directory: Directory,
    socket: PathBuf,
    stop: Bell,
    thread: JoinHandle<io::Result<()>>,
}

impl Broker {
    /// Starts a broker. It listens when this returns.
    pub(crate) fn start(file: Option<&Path>) -> Result<Self> {
        let directory = Directory::make()?;
        let socket = directory.socket();
        let server = Server::bind(configure(file, &socket)?)
            .map_err(|error| Problem::own("failed", 125, "run", format!("cannot start the broker: {error}")))?;
        let failed = |error: io::Error| Problem::host("run", "cannot start the broker", &error);
        let stop = Bell::new().map_err(failed)?;
        let stopped = stop.descriptor().map_err(failed)?;
        let thread =
            thread::Builder::new().name("broker".to_owned()).spawn(move || server.run(stopped)).map_err(failed)?;
        Ok(Self { directory, socket, stop, thread })
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// A connection for a child process: a descriptor that processes started while it lives inherit, and its address for them.
    pub(crate) fn connection(&self, mut place: OwnedFd) -> Result<(OwnedFd, String)> {
        let failed = |error: io::Error| Problem::host("run", "cannot hand over a connection", &error);
        let connection = std::os::unix::net::UnixStream::connect(&self.socket).map_err(failed)?;
        rustix::io::dup3(&connection, &mut place, DupFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        rustix::io::fcntl_setfd(&place, FdFlags::empty()).map_err(|error| failed(error.into()))?;
        let address = format!("fd:{}", place.as_raw_fd());
        Ok((place, address))
    }

    /// Ends the broker and removes its directory.
    pub(crate) fn stop(self) -> Result<()> {
        self.stop.ring();
        let ended = self.thread.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")));
        let removed = self.directory.remove();
        ended.map_err(|error| Problem::host("run", "the broker failed", &error))?;
        removed.map_err(|error| Problem::host("run", "cannot remove the broker's directory", &error))
    }
}

/// The lowest free descriptor, kept for a connection that is made later.
pub(crate) fn reserve_descriptor() -> Result<OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC)
        .map_err(|error| Problem::host("run", "cannot reserve a descriptor", &error.into()))
}

fn configure(file: Option<&Path>, socket: &Path) -> Result<Config> {
    let address = Address::Path(socket.to_owned());
    let Some(file) = file else { return Ok(Config::new(address)) };
    let loaded = Config::load(file, Some(address.clone()), || Ok(address));
    loaded.map_err(|error| Problem::new(ErrorCode::CONFIG, "run", error.to_string()))
}
