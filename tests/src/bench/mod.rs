//! The load generator of the benches: the same client, service and metrics for every broker, each in a process of its own.
//!
//! ```text
//! benches/*.rs ── Stage: starts broker, service and client processes of a Contender, alternating, and collects Outcomes
//!                   └─ Role: what a started process does: relay, service or client
//!                        └─ Dialect: how a broker's frames are written and found; load and echo know no broker
//! ```

mod command;
mod contender;
mod dialect;
mod echo;
mod intake;
mod load;
mod machine;
mod metric;
mod outcome;
mod process;
mod relay;
mod role;
mod stage;
mod steady;
mod syscalls;
mod table;
mod typed;

pub use command::{ShellCommand, ShellTimes};
pub use contender::{Contender, Tools, find_program};
pub use machine::{Machine, pin};
pub use metric::Metric;
pub use outcome::{Outcome, median};
pub use process::{Placement, Process};
pub use role::Role;
pub use stage::{Memory, Scene, Stage};
pub use steady::{Steady, SteadyService};
pub use syscalls::Syscalls;
pub use table::Table;
