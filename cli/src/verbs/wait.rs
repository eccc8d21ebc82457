//! `ipcctl wait`: until a name is offered, or until it is gone.

use std::time::Instant;

use ipc_client::{Error, ErrorCode, ServiceName, control};

use crate::{
    duration,
    exit::Exit,
    globals::Globals,
    link,
    problem::{Problem, Result},
};

/// Wait until each NAME is offered, or with --gone until none of them is.
///
/// A broker that is not there yet is waited for, too. When the time (-t, 30s by default) runs out the exit code is 124, or 69 if
/// there was no broker in all that time.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ipcctl wait -t 10s shop.orders shop.stock && echo open")]
pub(crate) struct Wait {
    /// Names of services
    #[arg(required = true, value_name = "NAME")]
    names: Vec<ServiceName>,

    /// Wait until nothing offers the names
    #[arg(long)]
    gone: bool,
}

impl Wait {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let patience = globals.deadline();
        let until = Instant::now() + patience;
        let dial = globals.dial("wait")?;
        for name in self.names {
            let wanted = control::Wait { name, gone: self.gone, target: false };
            let left = until.saturating_duration_since(Instant::now());
            link::wait_for(&dial, &wanted, left).map_err(|error| self::problem(&wanted, &error, globals))?;
        }
        Ok(Exit::SUCCESS)
    }
}

fn problem(wanted: &control::Wait, error: &Error, globals: &Globals) -> Problem {
    if error.code() != ErrorCode::DEADLINE {
        return Problem::from_error(wanted.name.as_str(), error);
    }
    let state = if wanted.gone { "still offered" } else { "not offered" };
    let message = format!("it is {state} after {}", duration::display(globals.deadline()));
    Problem::new(ErrorCode::DEADLINE, wanted.name.as_str(), message).hint("-t sets the time")
}
