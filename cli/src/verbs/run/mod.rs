//! `ipcctl run`: a command with a broker of its own.

mod children;
mod directory;
mod kin;
mod private;
mod witness;

use std::{
    env,
    ffi::{OsStr, OsString},
    os::fd::OwnedFd,
    path::PathBuf,
    process::ExitStatus,
};

use nix::sys::signal::Signal;

use self::{children::Children, kin::Kin, private::Broker, witness::Witness};
use crate::{
    child::{Interest, ready, recipe::Manner},
    exit::Exit,
    globals::Globals,
    link::PRIVATE,
    problem::{Problem, Result},
    program::{Program, search_path},
    signals::{Origin, Signals},
};

/// Run a command with a broker of its own: no daemon, no set-up, nothing left behind.
///
/// The command finds the broker by $IPCD_SOCKET, and this ipcctl first in its PATH. When it ends, the processes that it left running
/// get TERM and a second later KILL (filters behind it may first read to the end), the broker ends, and its directory goes.
/// Processes that were there before it are left alone.
///
/// The exit code is the command's: 128 + the signal if one killed it, 125 if the broker failed before it ended, 126 if it cannot be
/// executed, 127 if there is none.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  ipcctl run -- sh -c 'ipcctl serve upper -- tr a-z A-Z & ipcctl send -n --wait upper hello'
  ipcctl run --fd -- ipcctl ping
  ipcctl run -- bash")]
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

/// Signals that would end this process, which are passed on to the command, and SIGCHLD.
pub(crate) const WATCHED: [Signal; 13] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGIO,
    Signal::SIGPWR,
    Signal::SIGXCPU,
    Signal::SIGCHLD,
];

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        if globals.socket.is_some() || globals.time.is_some() {
            return Err(Problem::usage("run", "-s and -t mean nothing here").hint("the broker is the command's own"));
        }
        // Reserved now because low numbers are free: scripts say fd:3.
        let place = if self.fd { Some(private::reserve_descriptor()?) } else { None };
        let path = path_with_ourselves();
        let program = Program::find_in(&self.command, &path, "run")?;
        // Before any thread is made: threads inherit what is held back.
        let signals = Signals::require_sigchld()
            .and_then(|()| Signals::hold(&WATCHED))
            .map_err(|error| Problem::host("run", "cannot watch for signals", &error))?;
        let broker = Broker::start(self.config.as_deref())?;
        globals.say(|| format!("run: a broker of its own listens at {}", broker.socket().display()));
        let status = supervise(&program, path, &broker, place, &signals);
        let ended = broker.stop();
        let status = status?;
        globals.say(|| format!("run: {} ended with {status}", program.name()));
        // The exit code is the command's, whatever goes wrong after its end.
        if let Err(problem) = ended {
            problem.report(globals.format, globals.loudness());
        }
        Ok(Exit::of(status))
    }
}

/// Runs the command to its end, then ends what it left running.
fn supervise(
    program: &Program,
    path: OsString,
    broker: &Broker,
    place: Option<OwnedFd>,
    signals: &Signals,
) -> Result<ExitStatus> {
    let own_number = std::process::id().to_string();
    let mut children = Children::adopt(Kin::before_the_command(PRIVATE, &own_number))?;
    let mut recipe = program.recipe();
    recipe.set("IPCD_SOCKET", broker.socket()).set(PRIVATE, own_number).set("PATH", path);
    let connection = place.map(|place| broker.connection(place)).transpose()?;
    if let Some((_, address)) = &connection {
        recipe.set("IPCD_SOCKET", address);
    }
    let mut witness = Witness::start(); // before the command, whose first signal may come at once
    let mut early = so_far(signals, &mut witness);
    children.start(recipe, Manner::InOurPlace(signals.mask_before()), program)?;
    drop(connection); // the command has its copy
    // What came while it was started may have missed it: twice is better than never.
    early.extend(so_far(signals, &mut witness));
    early.into_iter().for_each(|signal| children.forward(signal));
    children.reap(); // the signal that it has ended may be among those
    while children.status().is_none() {
        ready([(Some(signals as _), Interest::Read)], None).map_err(|error| Problem::host("run", "poll", &error))?;
        while let Some(arrived) = signals.take() {
            // The command has received what was sent to the whole group.
            let is_the_groups = witness.has_seen(arrived.signal) || arrived.origin == Origin::Terminal;
            if !is_the_groups && arrived.signal != Signal::SIGCHLD {
                children.forward(arrived.signal);
            }
        }
        children.reap();
    }
    drop(witness);
    children.end(signals);
    children.status().ok_or_else(|| Problem::own("failed", 125, "run", "the command's end went unnoticed"))
}

/// Signals that have come already: even if they were for the whole group, the command may not have been there to receive them.
fn so_far(signals: &Signals, witness: &mut Witness) -> Vec<Signal> {
    let early = std::iter::from_fn(|| signals.take()).map(|arrived| arrived.signal);
    let early: Vec<Signal> = early.filter(|signal| *signal != Signal::SIGCHLD).collect();
    early.iter().for_each(|signal| _ = witness.has_seen(*signal)); // or a later one, for us alone, would pass for this one
    early
}

/// The search path with our own folder first, so that the command's `ipcctl` is this one, and the command itself may be `ipcctl`.
fn path_with_ourselves() -> OsString {
    let path = search_path();
    let own = env::current_exe().ok().and_then(|own| own.parent().map(PathBuf::from));
    own.and_then(|own| path_with(own, &path)).unwrap_or(path)
}

/// `None` if no search path can have that folder.
fn path_with(own: PathBuf, path: &OsStr) -> Option<OsString> {
    env::join_paths(std::iter::once(own).chain(env::split_paths(path))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_folder_is_searched_first() {
        assert_eq!(path_with("/x".into(), "/a:/b".as_ref()).unwrap(), "/x:/a:/b");
        assert_eq!(path_with("/x:y".into(), "/a".as_ref()), None);
    }
}
