//! The server: sockets, clock, signals and files. It feeds the core and does what the core decides; it decides nothing itself.

mod claim;
mod clock;
mod config;
mod connection;
mod datagrams;
mod doors;
mod inherited;
mod log;
mod poller;
mod signals;
mod turn;

pub use claim::ClaimError;
pub use config::{Config, ConfigError};
pub use signals::Signals;
pub use turn::{Server, StartError};
