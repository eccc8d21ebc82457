//! What the end-to-end tests and benches share.
#![forbid(unsafe_code)]

pub mod bench;
