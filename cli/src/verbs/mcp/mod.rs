//! `ipcctl mcp`: services as tools of agents, over the Model Context Protocol on standard input and output.

mod call;
mod calls;
mod content;
mod desk;
mod directory;
mod errand;
mod listeners;
mod meta;
mod outlet;
mod parent;
mod progress;
mod schema;
mod stdin;
mod tools;

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use ipc_client::{ErrorCode, Pattern};

use self::{calls::Calls, desk::Desk, directory::Directory, listeners::Listeners, outlet::Outlet, stdin::Stdin};
use crate::{
    duration,
    exit::Exit,
    globals::Globals,
    problem::{Problem, Result},
};

/// Offer services as tools to an agent: a server of the Model Context Protocol on standard input and output, which the agent starts.
///
/// Each method of the services that match becomes a tool, with the texts and types that the service says of itself ('ipcctl show
/// NAME'). A service that says nothing is a tool with one argument, 'input', which is the body of the call. Methods that are sent
/// items are left out. Beyond 40 tools the agent gets three others, which list, describe and call them.
///
/// Agents see what the user may call whose process this is. A call is cancelled when the agent cancels it, and when the agent
/// ends; items of a stream are its progress. The agent is told when services come and go. At the end of standard input the calls under
/// way are answered, for up to --deadline (55s); a signal and a closed output cancel them at once.
///
/// It speaks the versions 2024-11-05 to 2025-11-25, which begin with a handshake, and 2026-07-28, which doesn't.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  ipcctl mcp calc upper            # these two, and nothing else
  ipcctl mcp calc.add shop.        # one method; all services below 'shop'
  ipcctl mcp --deadline 10s lab.

In the settings of most agents:
  {\"mcpServers\": {\"local\": {\"command\": \"ipcctl\", \"args\": [\"mcp\", \"calc\", \"upper\"]}}}

By hand:
  echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}' | ipcctl mcp calc

The exit code is 0 after the end of standard input, and when the agent's process has ended. It is 124 if a call has not ended in its
time then.")]
pub(crate) struct Args {
    /// What to offer: the name of a service, SERVICE.METHOD, 'a.*' (one more label), or 'a.' (all below)
    #[arg(required = true, value_name = "PATTERN")]
    patterns: Vec<Pattern>,

    /// How long a call may take, up to 1h [default: 55s, and 1h if the agent is told of its progress]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    deadline: Option<Duration>,
}

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let failed = |what: &str, error: &io::Error| Problem::host("mcp", what, error);
        parent::end_with_it().map_err(|error| failed("cannot watch the process that started this one", &error))?;
        let directory = Arc::new(Directory::new(globals.client("mcp", "mcp")?, self.patterns));
        let (outlet, listeners) = (Arc::new(Outlet::default()), Arc::new(Listeners::default()));
        let calls = Calls::new(outlet.clone()).map_err(|error| failed("cannot make an eventfd", &error))?;
        let calls = Arc::new(calls);
        let desk = Desk {
            directory: directory.clone(),
            listeners: listeners.clone(),
            outlet: outlet.clone(),
            calls: calls.clone(),
            deadline: self.deadline,
        };
        let follow = move || directory.follow(|| listeners.tell(&outlet));
        thread::Builder::new().spawn(follow).map_err(|error| failed("cannot start a thread", &error))?;
        // The process ends here, and with it all connections: the broker cancels what was under way.
        Stdin::new().read_all(&desk, &calls).map_err(|error| failed("cannot read standard input", &error))?;
        let until = Instant::now() + self.deadline.unwrap_or(desk::UNWATCHED) + LEAD;
        match calls.finish(until).map_err(|error| failed("cannot wait for answers", &error))? {
            0 => Ok(Exit::SUCCESS),
            left => {
                let text = format!("calls under way have not ended in time: {left}");
                Err(Problem::new(ErrorCode::DEADLINE, "mcp", text))
            }
        }
    }
}

/// A call that ends with its deadline is answered just behind it.
const LEAD: Duration = Duration::from_secs(5);
