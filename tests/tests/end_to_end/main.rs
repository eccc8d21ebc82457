//! The whole system: real sockets, real processes, real signals.
//!
//! `IPCD_TEST_IN_THREAD=1` runs the same tests with the broker in a thread, unless they need a process. `IPCD_SOAK=1` runs the long
//! version of tests that repeat something. `IPCD_TEST_PROGRAMS=DIR` uses the programs in DIR instead of building them.
//! `sNN_…` is scenario NN of the list of classic programs. Other tests are grouped by what can go wrong.
#![forbid(unsafe_code)]

mod acceptance;
mod agents;
mod agents_python;
mod containers;
mod datagrams;
mod deaths;
mod descriptions;
mod descriptors;
mod events_shell;
mod examples;
mod helps;
mod identity;
mod json_rpc;
mod kills;
mod library;
mod library_events;
mod library_streams;
mod locks;
mod rpc;
mod runs;
mod sandbox;
mod scenarios;
mod scenarios_events;
mod sends;
mod serves;
mod serves_mcp;
mod shell;
mod signals;
mod start;
mod streams;
mod streams_bulk;
mod streams_shell;
mod traits;
mod waits;
mod watchdog;
