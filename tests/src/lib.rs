//! Code that the end-to-end tests and benches share. A function that waits panics when its time is up, and so fails the test.
#![forbid(unsafe_code)]

pub mod agent;
pub mod attack;
pub mod bait;
pub mod bench;
pub mod broker;
pub mod bystander;
pub mod command;
pub mod dbus;
pub mod eventually;
pub mod json_peer;
pub mod ledger;
pub mod payloads;
pub mod peer;
pub mod proc;
pub mod programs;
pub mod rival;
pub mod scene;
pub mod siege;

/// Compiles the Rust code in README.md.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
