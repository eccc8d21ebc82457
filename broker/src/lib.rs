//! ipcd, the broker.
#![forbid(unsafe_code)]
