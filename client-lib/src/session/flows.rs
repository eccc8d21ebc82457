//! The calls with streams of a connection, its own and those that were delivered to it.

use std::collections::HashMap;

use super::{flow::Flow, slots::Serial};
use crate::error::Error;

/// The calls with streams of a connection, by what the thread that takes their items is woken for.
#[derive(Debug, Default)]
pub(super) struct Flows {
    pub(super) by_id: HashMap<Serial, Flow>,
    /// Those that were delivered, by the broker's number.
    pub(super) delivered: HashMap<u64, Serial>,
}

/// What became of an item.
pub(crate) enum Sending {
    /// It leaves behind everything that was queued before.
    Queued,
    /// There is no credit for it yet.
    NotAllowed,
    /// It will never be sent.
    Over(Error),
}
