//! ipcd, the broker: a pure [`core`] that decides, a front that speaks the dialects, and a [`server`] that does.
#![forbid(unsafe_code)]

pub mod core;
pub mod front;
pub mod server;

pub use server::{Config, Server, Signals, StartError};
