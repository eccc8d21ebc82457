//! Hostile peers against the real broker, one test per fault, named by the fault's number. A caller and a service that do nothing
//! wrong must not notice, and nothing may be left behind.
#![forbid(unsafe_code)]

mod descriptors;
