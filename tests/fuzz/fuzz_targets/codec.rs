//! See [`ipc_fuzz::codec`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipc_fuzz::codec(data));
