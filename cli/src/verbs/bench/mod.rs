//! `ipcctl bench`: what calls, events and streams cost through the running broker.

mod calls;
mod events;
mod plan;
mod samples;
mod stream;

use std::time::Duration;

use ipc_client::control::Empty;

use self::plan::{Plan, Report, failed};
use crate::{
    exit::Exit,
    format::Format,
    globals::Globals,
    number::within,
    out,
    problem::{Problem, Result},
    table::{self, Cell},
};

/// Measure calls, events or a stream through the running broker: latency and rate.
///
/// Both ends are in this process: of calls, a service that returns what it is sent, and one caller; of events, one publisher and the
/// subscribers, each over a connection of its own; of a stream, a caller that sends items and a service that takes them. The figures
/// depend on where the scheduler puts them and the broker: pin all to one CPU (taskset -c 0) to compare two runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ipcctl bench                             # one call after the other\n  \
    ipcctl bench --window 64                 # 64 calls under way at any time\n  \
    ipcctl bench events --subscribers 16     # one event after the other to 16 subscribers\n  \
    ipcctl bench stream --size 65536         # items of 64 KiB, as fast as they are taken")]
pub(crate) struct Args {
    /// What to measure: calls, events or stream
    #[arg(value_enum, hide_possible_values = true, default_value_t = What::Calls, value_name = "WHAT")]
    what: What,

    /// Bytes of a body: of a call there and back, of an event (at least 8), of an item
    #[arg(long, default_value_t = 64, value_name = "BYTES", value_parser = |text: &str| within(text, 0..=1_000_000_u32))]
    size: u32,

    /// Calls under way at any time, or events published before the first of them is received; a stream takes what its service allows
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = |text: &str| within(text, 1..=1_024_u16))]
    window: u16,

    /// Subscribers of each event
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = |text: &str| within(text, 1..=1_000_u16))]
    subscribers: u16,

    /// How long to measure; a tenth of that goes before as a warm-up
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = |text: &str| within(text, 1..=3_600_u32))]
    seconds: u32,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Calls, there and back.
    Calls,
    /// Events, from a publisher to subscribers.
    Events,
    /// Items, from a caller to a service.
    Stream,
}

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        if globals.is_inherited() {
            return Err(Problem::usage("bench", "an inherited descriptor is one connection, and two are needed"));
        }
        self.check()?;
        // -t holds before any thread waits.
        let answered = globals.connect("bench")?.try_ask::<_, Empty>("ping", &Empty {});
        answered.map_err(failed)?;
        let Self { size, window, subscribers, .. } = self;
        let plan = Plan { size, window, subscribers, length: Duration::from_secs(self.seconds.into()) };
        match self.what {
            What::Calls => print(globals, &calls::measure(&plan, globals)?),
            What::Events => print(globals, &events::measure(&plan, globals)?),
            What::Stream => print(globals, &stream::measure(&plan, globals)?),
        }
    }

    /// Refuses what has no meaning for what is measured.
    fn check(&self) -> Result<()> {
        let text = match self.what {
            What::Calls | What::Stream if self.subscribers != 1 => "--subscribers is for events",
            What::Stream if self.window != 1 => "--window is for calls and events",
            What::Events if self.size < events::LEAST => "an event carries the time: --size is at least 8",
            What::Calls | What::Events | What::Stream => return Ok(()),
        };
        Err(Problem::usage("bench", text))
    }
}

fn print(globals: &Globals, report: &impl Report) -> Result<Exit> {
    let row = |(name, value, unit)| vec![Cell::text(name), Cell::number(format!("{value:.1}")), Cell::text(unit)];
    match globals.format {
        Format::Text => out::print(&table::render(&report.rows().into_iter().map(row).collect::<Vec<_>>()))?,
        Format::Json => out::ndjson(std::slice::from_ref(report))?,
    }
    Ok(Exit::SUCCESS)
}
