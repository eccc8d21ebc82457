//! Typed calls and services over the ipcd broker.
#![forbid(unsafe_code)]
