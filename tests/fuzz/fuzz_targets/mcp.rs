//! See [`ipc_fuzz::mcp`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipc_fuzz::mcp(data));
