//! See [`ipc_fuzz::frame`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipc_fuzz::frame(data));
