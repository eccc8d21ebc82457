//! Patterns and topics of any text in a router: the tree of patterns finds what a naive comparison finds, and losses are counted.
#![no_main]

#[path = "../../../broker/tests/world/mod.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|data: &[u8]| world::script::events_given(data));
