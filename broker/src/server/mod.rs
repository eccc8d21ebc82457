//! The server: sockets, clock, signals and files. It feeds the core and does what the core decides; it decides nothing itself.

mod broker;
mod claim;
mod clock;
mod config;
mod config_file;
mod connections;
mod datagrams;
mod decisions;
mod descriptors;
mod directory;
mod doors;
mod inherited;
mod life;
mod log;
mod owner;
mod poller;
mod signals;
mod turn;

pub use broker::{Server, StartError};
pub use claim::{ClaimError, Flaw};
pub use config::{Config, ConfigError};
pub use config_file::{Mistake, Problem};
pub use signals::Signals;
