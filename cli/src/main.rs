//! The shell face of the ipcd broker.
#![forbid(unsafe_code)]
fn main() {}
