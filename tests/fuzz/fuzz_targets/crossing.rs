//! See `crossing` in `tests/fuzz/src/json.rs`.
#![no_main]

#[path = "../src/json.rs"]
#[allow(dead_code, reason = "each target is one of its functions")]
mod invariants;

libfuzzer_sys::fuzz_target!(|data: &[u8]| invariants::crossing(data));
