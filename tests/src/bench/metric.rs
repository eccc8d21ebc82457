//! The figures that are measured.

use serde::{Deserialize, Serialize};

/// One measured figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// One call outstanding, 64 bytes there and back.
    RoundTrip64,
    /// One call outstanding, 4 KiB there and back.
    RoundTrip4k,
    /// One typed call `add(i64, i64) -> i64` outstanding.
    Add,
    /// 64 calls outstanding on one connection: 64 bytes each, or `add` with a typed client.
    Window64,
    /// 64 connections with one call outstanding each, 64 bytes.
    Connections64,
    /// 512 connections with one call outstanding each, 64 bytes.
    Connections512,
    /// One call outstanding, a body of 1 MiB, answered with 16 bytes.
    Bulk,
    /// One event in flight to 16 processes, 64 bytes.
    Fan1,
    /// 64 events in flight to 16 processes, 64 bytes each.
    Fan64,
    /// 64 events in flight to the publisher alone.
    To1,
    /// 64 events in flight to 10 processes.
    To10,
    /// 64 events in flight to 100 processes.
    To100,
    /// 64 events in flight to 1,000 processes.
    To1000,
}

impl Metric {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 13] = [
        Self::RoundTrip64,
        Self::RoundTrip4k,
        Self::Add,
        Self::Window64,
        Self::Connections64,
        Self::Connections512,
        Self::Bulk,
        Self::Fan1,
        Self::Fan64,
        Self::To1,
        Self::To10,
        Self::To100,
        Self::To1000,
    ];

    /// The length of a call's body.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::RoundTrip4k => 4_096,
            Self::Bulk => 1 << 20,
            _ => 64,
        }
    }

    /// The number of connections that make calls.
    #[must_use]
    pub fn connections(self) -> u32 {
        match self {
            Self::Connections64 => 64,
            Self::Connections512 => 512,
            _ => 1,
        }
    }

    /// The number of calls outstanding on each connection, or of events that the publisher has not received itself.
    #[must_use]
    pub fn window(self) -> usize {
        match self {
            Self::Window64 | Self::Fan64 | Self::To1 | Self::To10 | Self::To100 | Self::To1000 => 64,
            _ => 1,
        }
    }

    /// The number of processes that receive each event, the publisher among them; 0 for calls.
    #[must_use]
    pub fn subscribers(self) -> u32 {
        match self {
            Self::Fan1 | Self::Fan64 => 16,
            Self::To1 => 1,
            Self::To10 => 10,
            Self::To100 => 100,
            Self::To1000 => 1_000,
            _ => 0,
        }
    }
}
