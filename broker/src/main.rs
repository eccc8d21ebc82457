//! The ipcd daemon.
#![forbid(unsafe_code)]
fn main() {}
