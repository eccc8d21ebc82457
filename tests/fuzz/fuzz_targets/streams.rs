//! Items, ends and credit in any order in a router: each arrives in its order, or ends its call.
#![no_main]

#[path = "../../../broker/tests/world/mod.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|data: &[u8]| world::script::streams_given(data));
