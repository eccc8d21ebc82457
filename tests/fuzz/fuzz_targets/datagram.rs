//! See [`ipc_fuzz::datagram`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipc_fuzz::datagram(data));
