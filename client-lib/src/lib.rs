//! Typed calls and services over the ipcd broker.

#![forbid(unsafe_code)]

mod backoff;
mod client;
mod connect;
mod connection;
mod datagram;
mod dial;
mod error;
mod method;
mod pending;
mod request;
mod routes;
mod service;
mod session;
mod waker;

pub use client::{Client, Corked};
pub use connect::Connect;
pub use datagram::Datagram;
pub use error::{CallError, Error, Result};
pub use ipc_protocol::{
    Encoding, ErrorCode, Identity, InvalidName, MethodName, Pattern, PeerNumber, Retry, ServiceName, Target, control,
    limits,
    transport::{Address, AddressError},
};
pub use method::Method;
pub use pending::{Pending, PendingBytes};
pub use request::{Request, Response};
pub use service::{Caller, CancelToken, Context, Failed, Incoming, Service, Serving};
