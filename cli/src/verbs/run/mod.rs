//! `ipcctl run`: a command with a broker of its own.

mod children;
mod private;

use std::{
    env,
    ffi::{OsStr, OsString},
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::PathBuf,
    process::ExitStatus,
};

use nix::sys::signal::Signal;

use self::{children::Children, private::Broker};
use crate::{
    child::{
        Interest, ready,
        recipe::{Manner, Recipe},
    },
    exit::Exit,
    globals::Globals,
    link::PRIVATE,
    problem::{Problem, Result},
    program::Program,
    signals::{Origin, Signals},
};

/// Run a command with a broker of its own: no daemon, no set-up, nothing left behind.
///
/// The command finds the broker by $IPCD_SOCKET, and this ipcctl first in its PATH. When it ends, the processes that it left running
/// get TERM and a second later KILL, the broker ends, its directory goes, and the exit code is the command's: 128 + the signal
/// if one killed it, 125 if the broker failed, 126 if the command cannot be executed, 127 if there is none.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ipcctl run -- sh -c 'ipcctl serve upper -- tr a-z A-Z & ipcctl send --wait=5s upper hello'"
)]
pub(crate) struct Args {
    /// Configuration of the broker, as for ipcd --config
    #[arg(short = 'f', long = "config", value_name = "CONFIG")]
    config: Option<PathBuf>,

    /// Hand the command a connection to the broker instead of a path: IPCD_SOCKET is fd:N, the number of an open descriptor.
    /// It is one connection, for one process
    #[arg(long)]
    fd: bool,

    /// The command and its arguments; a lone script may stand without --
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Signals that end a command, and what tells of its end.
const WATCHED: [Signal; 5] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGCHLD];

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        if globals.socket.is_some() || globals.time.is_some() {
            return Err(Problem::usage("run", "-s and -t mean nothing here").hint("the broker is the command's own"));
        }
        // The number is free now and low, as whoever writes fd:3 by hand expects it.
        let place = if self.fd { Some(private::reserve_descriptor()?) } else { None };
        let program = Program::find(&self.command, "run")?;
        // Before any thread is made: threads inherit what is held back.
        let signals = Signals::require_sigchld()
            .and_then(|()| Signals::hold(&WATCHED))
            .map_err(|error| Problem::host("run", "cannot watch for signals", &error))?;
        let broker = Broker::start(self.config.as_deref())?;
        let status = supervise(&program, &broker, place, &signals);
        let ended = broker.stop();
        match (status?, ended) {
            (status, Ok(())) => Ok(exit(status)),
            (_, Err(problem)) => Err(problem),
        }
    }
}

/// Runs the command to its end, and ends whatever it leaves behind.
fn supervise(program: &Program, broker: &Broker, place: Option<OwnedFd>, signals: &Signals) -> Result<ExitStatus> {
    let mut children = Children::adopt()?;
    let mut recipe = program.recipe();
    prepare(&mut recipe, broker);
    let connection = place.map(|place| broker.connection(place)).transpose()?;
    if let Some((_, address)) = &connection {
        recipe.set("IPCD_SOCKET", address);
    }
    children.start(recipe, Manner::InOurPlace(signals.mask_before()), program)?;
    drop(connection); // the command has its own copy now
    while children.status().is_none() {
        ready([(Some(signals as _), Interest::Read)], None).map_err(|error| Problem::host("run", "poll", &error))?;
        while let Some(arrived) = signals.take() {
            match (arrived.signal, arrived.origin) {
                (Signal::SIGCHLD, _) => {}
                // The command is in our process group and has got it from the terminal as we have.
                (Signal::SIGINT | Signal::SIGQUIT | Signal::SIGHUP, Origin::Terminal) => {}
                (signal, _) => children.forward(signal),
            }
        }
        children.reap();
    }
    children.end(signals);
    children.status().ok_or_else(|| Problem::own("failed", 125, "run", "the command's end went unnoticed"))
}

fn prepare(recipe: &mut Recipe, broker: &Broker) {
    recipe.set("IPCD_SOCKET", broker.socket()).set(PRIVATE, std::process::id().to_string());
    let own = env::current_exe().ok().and_then(|path| path.parent().map(PathBuf::from));
    if let Some(path) = own.and_then(|own| path_with(own, env::var_os("PATH").as_deref())) {
        recipe.set("PATH", path);
    }
}

/// The search path with our own folder first, so that the command's `ipcctl` is this one.
fn path_with(own: PathBuf, path: Option<&OsStr>) -> Option<OsString> {
    let path = path.unwrap_or(OsStr::new("/bin:/usr/bin"));
    env::join_paths(std::iter::once(own).chain(env::split_paths(path))).ok()
}

fn exit(status: ExitStatus) -> Exit {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let signal = status.signal();
    match (code, signal.map(Signal::try_from)) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(Ok(signal))) => Exit::Signal(signal),
        (None, _) => Exit::Code(signal.and_then(|signal| u8::try_from(128 + signal).ok()).unwrap_or(125)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_is_that_of_the_command() {
        assert_eq!(exit(ExitStatus::from_raw(3 << 8)), Exit::Code(3));
        assert_eq!(exit(ExitStatus::from_raw(15)), Exit::Signal(Signal::SIGTERM));
        assert_eq!(exit(ExitStatus::from_raw(40)), Exit::Code(168));
    }

    #[test]
    fn our_own_folder_is_searched_first() {
        assert_eq!(path_with("/x".into(), Some("/a:/b".as_ref())).unwrap(), "/x:/a:/b");
        assert_eq!(path_with("/x".into(), None).unwrap(), "/x:/bin:/usr/bin");
        assert_eq!(path_with("/x:y".into(), None), None);
    }
}
