//! Typed calls and services over the ipcd broker: blocking, without a runtime, without a thread behind a client.
//!
//! A service is a trait, which both sides share: see [`service`](macro@service).
//!
//! ```
//! use ipc_client::Client;
//!
//! /// Sums.
//! #[ipc_client::service(name = "calc")]
//! trait Calc {
//!     /// The sum of two numbers.
//!     fn add(&self, a: i64, b: i64) -> Result<i64, String>;
//! }
//!
//! struct Calculator;
//!
//! impl Calc for Calculator {
//!     fn add(&self, a: i64, b: i64) -> Result<i64, String> {
//!         a.checked_add(b).ok_or("too large".to_owned())
//!     }
//! }
//!
//! # let broker = ipc_client::testing::broker()?;
//! # let address = broker.address();
//! let serving = Calculator.into_service().address(&address).start()?; // without an address: the broker that the environment names
//!
//! let calc = CalcClient::new(&Client::connect_to(&address)?);
//! assert_eq!(calc.add(1, 2)?, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The same service answers `ipcctl send calc.add a:=1 b:=2`, and any caller that sends JSON.
//!
//! Below the trait, a method is a type: its fields are the request, [`Method`] names the service, the reply and the error. Both ways
//! work together, and each can be used alone:
//!
//! ```
//! use ipc_client::{Client, Method, Service};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Add {
//!     a: i64,
//!     b: i64,
//! }
//!
//! impl Method for Add {
//!     const SERVICE: &'static str = "calc";
//!     const METHOD: &'static str = "add";
//!     type Reply = i64;
//!     type Error = String;
//! }
//!
//! # let broker = ipc_client::testing::broker()?;
//! # let address = broker.address();
//! let serving = Service::new("calc")
//!     .address(&address)
//!     .quick(|add: Add, _| Ok(add.a.checked_add(add.b).ok_or("too large".to_owned())?))
//!     .start()?;
//!
//! let client = Client::connect_to(&address)?;
//! assert_eq!(client.call(&Add { a: 1, b: 2 })?, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | to | use |
//! |--|--|
//! | offer and call a service of your own | [`service`](macro@service), a trait |
//! | call a method whose types are shared | [`Client::call`], or [`Client::start`] and [`Pending::wait`] |
//! | call with a body of bytes or JSON | [`Client::call_bytes`] |
//! | send a call that wants no answer | [`Client::tell`], with bytes [`Client::one_way`] |
//! | ask the broker itself | [`Client::ask`] with an operation of [`control::operation`] |
//! | keep others out while something runs | [`Client::lock`], which processes share: a [`LockGuard`] |
//! | answer calls | [`Service`], on threads of its own or in the program's loop: [`Polled`] |
//! | call one of several services with the same methods | [`Remote`] |
//! | call again as long as that is safe | [`Attempts`] |
//! | say no in a typed way | [`AppError`]; in any other way [`Failed`] |
//! | test a service without a broker | [`Client::connected_pair`], or `AsyncClient::connected_pair` |
//! | have a broker in a test | `testing::broker`, with the feature `testing` |
//! | call others while answering | [`Context::client`], whose calls end with the one that is answered |
//! | send or receive many items in a call | [`Client::stream`] with a [`StreamMethod`]; answered by [`Service::stream`] |
//! | tell all who want to know | [`Client::publish`] on a [`Topic`], or [`Client::announce`] |
//! | be told | [`Client::subscribe`], a [`Subscription`] |
//! | send a single call and never wait for a broker | [`Datagram`] |
//! | do any of this with futures | `AsyncClient` and `AsyncService`, with the feature `tokio` |
//!
//! Every call ends exactly once: with a reply, or with an [`Error`] whose [`code`](Error::code) is a row of one table and whose
//! [`retry`](Error::retry) says whether the same call may be sent again without running twice.
//!
//! The guide `docs/rust.md` goes from the first call to events, streams, errors, tests and versions, `docs/rust-async.md` does so with
//! futures.
//!
//! # How it is built
//! ```text
//! Client, Service, Datagram     what programs hold
//! link/blocking                 one socket, one lock; the thread that waits reads
//! link/tokio                    the same for futures; a task reads
//! link/channel                  no socket and no broker: a service and its clients in one process
//! session                       calls, encodings, deadlines: no socket, no clock, no thread
//! ```

#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../../docs/rust.md")]
mod guide {}

#[cfg(all(doctest, feature = "tokio", feature = "testing"))]
#[doc = include_str!("../../docs/rust-async.md")]
mod guide_of_futures {}

#[cfg(feature = "tokio")]
mod aio;
mod app_error;
mod attempts;
mod calls;
mod cancel;
mod client;
mod connect;
mod contract;
mod cork;
mod datagram;
mod description;
mod error;
mod events;
#[doc(hidden)]
pub mod generated;
mod line;
mod link;
mod lock;
mod macros;
mod method;
mod pair;
mod pending;
mod publication;
mod publish;
mod remote;
mod request;
mod scratch;
mod service;
mod session;
mod shape;
mod stream;
mod stream_method;
#[cfg(feature = "testing")]
pub mod testing;
mod ticket;
mod topic;

#[cfg(feature = "tokio")]
pub use aio::{
    AsyncClient, AsyncConnectedPair, AsyncContext, AsyncDownlink, AsyncDownlinkBytes, AsyncItems, AsyncItemsBytes,
    AsyncLockGuard, AsyncPending, AsyncPendingBytes, AsyncRemote, AsyncService, AsyncServing, AsyncSink,
    AsyncSinkBytes, AsyncStreamCall, AsyncStreamCallBytes, AsyncSubscription, AsyncUplink, AsyncUplinkBytes,
};
pub use app_error::{AppError, MethodError};
pub use attempts::{Attempts, Repeatable};
pub use cancel::CancelToken;
pub use client::Client;
pub use connect::Connect;
pub use cork::Corked;
pub use datagram::Datagram;
pub use description::{Description, EventDescription, Hints, MethodDescription};
pub use error::{CallError, Error, Result};
pub use events::{Event, Notice, Subscribe, Subscription, Watched};
pub use ipc_protocol::{
    DESCRIBE, ERROR_TABLE, Encoding, ErrorCode, ErrorRow, Fingerprint, Identity, InvalidName, MethodName, Pattern,
    PeerNumber, Retry, ServiceName, Streams, Target, Topic as TopicName,
    codec::CodecError,
    control, limits,
    transport::{Address, AddressError, Bell, poll},
};
pub use lock::{LockGuard, Locking};
pub use macros::{AppError, service};
pub use method::{AsRequest, Method};
pub use pair::ConnectedPair;
pub use pending::{Pending, PendingBytes};
pub use publication::Publication;
pub use publish::Publishing;
pub use remote::Remote;
pub use request::{Request, Response};
pub use service::{Caller, Change, Context, Failed, Incoming, Polled, Service, Serving, Stopper};
pub use shape::{Composition, Field, JsonSchema, Mismatch, Shape, Type, Variant};
pub use stream::{
    Downlink, DownlinkBytes, Items, ItemsBytes, Sink, SinkBytes, StreamCall, StreamCallBytes, Uplink, UplinkBytes,
};
pub use stream_method::{AsStreamRequest, StreamMethod};
pub use topic::{FixedTopic, Topic};
