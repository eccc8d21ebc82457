//! The server: sockets, clock, signals and files. It passes inputs to the core and carries out its outputs, and makes no decisions
//! of its own.

mod broker;
mod claim;
mod clock;
mod closing;
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
mod line;
mod log;
mod memory;
mod notify;
mod outlets;
mod owner;
mod path_error;
mod poller;
mod sandbox;
mod signals;
mod site;
mod sunk;
mod syscalls;
mod turn;

pub use broker::{Server, StartError};
pub use claim::ClaimError;
pub use config::{Config, ConfigError};
pub use config_file::{FileError, Mistake, Problem};
pub use descriptors::connections_lowered;
pub use directory::DirectoryError;
pub use line::write_line;
pub use memory::bytes_lowered;
pub use notify::Notifier;
pub use path_error::{Flaw, PathError, plain};
pub use sandbox::{Gap, Sandbox};
pub use signals::Signals;
pub use site::SiteError;
