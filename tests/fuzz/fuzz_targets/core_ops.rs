//! The walk of `broker/tests/walks.rs`, with the fuzzer's bytes as its choices. The router's invariants hold for all actions of peers,
//! and each call ends exactly once.
#![no_main]

#[path = "../../../broker/tests/world/mod.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|data: &[u8]| world::walk::walk_given(data));
