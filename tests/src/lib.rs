//! What the end-to-end tests and benches share.
#![forbid(unsafe_code)]

pub mod bench;
pub mod broker;
pub mod command;
pub mod eventually;
pub mod payloads;
pub mod peer;
pub mod proc;
pub mod programs;
pub mod scene;

/// The Rust that README.md shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
