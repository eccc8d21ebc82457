//! The whole of it: real sockets, real processes, real signals.
//!
//! `IPCD_TEST_IN_THREAD=1` runs the same tests against the broker in a thread, where they do not need a process. `IPCD_SOAK=1` runs
//! the long version of those that repeat something. `IPCD_TEST_PROGRAMS=DIR` takes the programs from there instead of building them.
//! `sNN_…` is scenario NN of the list of classic programs; the others are grouped by what may go wrong.
#![forbid(unsafe_code)]

mod acceptance;
mod datagrams;
mod deaths;
mod descriptors;
mod exhaustion;
mod helps;
mod hostile_streams;
mod identity;
mod library;
mod runs;
mod scenarios;
mod sends;
mod serves;
mod shell;
mod signals;
mod slow_peers;
mod start;
mod waits;
