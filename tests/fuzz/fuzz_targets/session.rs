//! A client whose broker sends items, credit, events and gaps in any order: all is told, once and in order.
#![no_main]

#[path = "../../../client-lib/tests/scripts/given.rs"]
mod given;

libfuzzer_sys::fuzz_target!(|data: &[u8]| given::run(data));
