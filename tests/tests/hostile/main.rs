//! Hostile peers against the real broker, one test per fault, named by the fault's number. A caller and a service that do nothing
//! wrong must not notice, and nothing may be left behind.
//!
//! `IPCD_SOAK=1` runs the load tests too, which take minutes and print a table. `IPCD_STRICT=1` holds every test to the bound of a
//! quiet machine: 10 times the idle p99, or 2 ms.
#![forbid(unsafe_code)]

mod conduct;
mod datagrams;
mod descriptors;
mod events;
mod exhaustion;
mod fairness;
mod framing;
mod identity;
mod json_rpc;
mod life;
mod load;
mod offence;
mod side_by_side;
mod streams;
mod surroundings;
mod time;
