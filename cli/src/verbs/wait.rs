//! `ipcctl wait`: until names are offered, until they are gone, or until there is a broker.

use ipc_client::{ErrorCode, ServiceName, control};

use crate::{
    duration,
    exit::Exit,
    globals::Globals,
    problem::{Problem, Result},
    waiting::{GaveUp, Vigil, silent},
};

/// Wait until every NAME is offered, or with --gone until none of them is. Without NAME, wait for the broker.
///
/// A broker that isn't there yet is waited for in any case. When the time (-t, 30s by default) runs out, the exit code is 124, or 69
/// if no broker answered.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ipcctl wait && echo 'the broker is up'\n  \
    ipcctl wait -t 10s shop.orders shop.stock && echo open\n  ipcctl wait --gone shop.orders")]
pub(crate) struct Args {
    /// Names of services
    #[arg(value_name = "NAME")]
    names: Vec<ServiceName>,

    /// Wait until nothing offers any of the names
    #[arg(long, requires = "names")]
    gone: bool,
}

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let vigil = Vigil::begin(globals, "wait", globals.deadline())?;
        let outcome = if self.names.is_empty() {
            globals.say(|| format!("waiting for a broker at {}", globals.place()));
            vigil.broker()
        } else {
            let state = if self.gone { "to go" } else { "to be offered" };
            globals.say(|| format!("waiting for {} {state}", listed(&self.names)));
            vigil.names(&self.wanted())
        };
        outcome.map_err(|gave_up| self.problem(gave_up, globals))?;
        Ok(Exit::SUCCESS)
    }

    fn wanted(&self) -> Vec<control::Wait> {
        let wanted = |name: &ServiceName| control::Wait { name: name.clone(), gone: self.gone, target: false };
        self.names.iter().map(wanted).collect()
    }

    fn problem(&self, gave_up: GaveUp, globals: &Globals) -> Problem {
        let time = duration::display(globals.deadline());
        match gave_up {
            GaveUp::NotYet(name) => {
                let state = if self.gone { "still offered" } else { "not offered" };
                let message = format!("it is {state} after {time}");
                Problem::new(ErrorCode::DEADLINE, name.as_str(), message).hint("-t sets the time")
            }
            GaveUp::Silent => silent("wait", globals, globals.deadline()),
            GaveUp::Failed(error) => Problem::from_error("wait", &globals.explained(error)),
        }
    }
}

fn listed(names: &[ServiceName]) -> String {
    names.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ")
}
