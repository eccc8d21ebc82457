//! Clients and services in other languages, each with its own tests or programs: `python/` and `examples/`.
#![forbid(unsafe_code)]

mod c;
mod python;
