//! See [`ipc_fuzz::pattern`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipc_fuzz::pattern(data));
