//! The server: sockets, clock, signals and files. It feeds the core and does what the core decides; it decides nothing itself.

mod accepting;
mod broker;
mod claim;
mod clock;
mod config;
mod config_file;
mod connection;
mod datagrams;
mod descriptors;
mod directory;
mod doors;
mod inherited;
mod life;
mod line;
mod log;
mod notify;
mod owner;
mod path_error;
mod poller;
mod reading;
mod signals;
mod site;
mod turn;
mod writing;

pub use broker::{Server, StartError};
pub use claim::ClaimError;
pub use config::{Config, ConfigError};
pub use config_file::{FileError, Mistake, Problem};
pub use directory::DirectoryError;
pub use line::write_line;
pub use notify::notify_ready;
pub use path_error::{Flaw, PathError};
pub use signals::Signals;
pub use site::SiteError;
