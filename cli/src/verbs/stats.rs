//! `ipcctl stats`: the broker's counters.

use ipc_client::control;

use crate::{
    exit::Exit,
    globals::Globals,
    problem::Result,
    table::{self, Cell},
};

/// Print the broker's counters: name and value, and the unit where the name doesn't say it.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {}

const AFTER: &str = "What there is now:
  connections               connections
  names                     names on offer
  calls_pending             calls without an answer yet
  locks                     locks that are held
  subscriptions             subscriptions
  events_kept               topics whose last event is kept
  bytes_held                memory that is charged to users
  bytes_worst               the most memory that the limits allow, see 'ipcctl limits --help'

Since the broker started:
  connections_accepted      connections accepted
  connections_refused       told busy: a limit was reached, or the broker was ending
  connections_ignored       closed unheard: their user connects too often
  connections_cut           ended by the broker: their peer broke the protocol or didn't read
  calls                     calls received, however they ended
  calls_delivered           calls that reached a service
  calls_queued              calls that waited for one
  replies                   replies passed on
  replies_late              replies that came after the call had ended
  replies_stray             replies to calls that the service never received
  events                    events published
  events_delivered          events sent to a subscription, each once for each
  events_lost               events that a subscription lost, because it didn't keep up
  items                     items of streams passed on
  stream_frames_late        items, ends and credits that came after their call had ended
  datagrams                 datagrams received
  datagrams_malformed       dropped: cut short, or not what a datagram may be
  datagrams_refused         calls that were refused: no such service, denied, busy
  datagram_answers_dropped  answers that the caller's socket didn't take
  errors_NAME               errors sent, see 'ipcctl help errors'

Example:
  ipcctl stats | grep dropped";

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let control::Stats { stats } = globals.ask("stats", &control::Empty {})?;
        table::print(globals.format, &stats, row)?;
        Ok(Exit::SUCCESS)
    }
}

fn row(stat: &control::StatRow) -> Vec<Cell> {
    let mut row = vec![Cell::text(&stat.name), Cell::number(stat.value)];
    row.extend(table::unit(&stat.name, &stat.unit));
    row
}
