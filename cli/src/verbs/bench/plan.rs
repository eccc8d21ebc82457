//! What all benches share: how much is measured, both ends of it, and the report.

use std::time::Duration;

use ipc_client::{Client, Error, Service, Serving, Target};
use serde::Serialize;

use crate::{
    globals::Globals,
    problem::{Problem, Result},
};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Bytes of a body.
    pub(super) size: u32,
    /// Calls or events under way.
    pub(super) window: u16,
    /// Subscribers of each event.
    pub(super) subscribers: u16,
    /// The measured part; a tenth of it goes before.
    pub(super) length: Duration,
}

/// What was measured. Members are only ever added.
pub(super) trait Report: Serialize {
    /// For people: names, values, units.
    fn rows(&self) -> Vec<(&'static str, f64, &'static str)>;
}

/// Starts a service that has no name: it is called by its peer's number.
pub(super) fn start(service: Service, globals: &Globals) -> Result<(Serving, Target)> {
    let mut service = service.agent("ipcctl bench");
    if let Some(address) = globals.address()? {
        service = service.address(&address);
    }
    let serving = service.start().map_err(failed)?;
    let target = serving.peer().to_string().parse().expect("a peer's number is a target");
    Ok((serving, target))
}

pub(super) fn client(globals: &Globals) -> Result<Client> {
    globals.client("bench", "bench")
}

pub(super) fn failed(error: Error) -> Problem {
    Problem::from_error("bench", &error)
}

/// How many a second.
#[expect(clippy::cast_precision_loss, reason = "an hour of events is far from 2^52")]
pub(super) fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}
