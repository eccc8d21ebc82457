//! Clients and services for the runtime tokio: what the blocking ones do, with futures in the place of threads.

mod calls;
mod client;
mod events;
mod line;
mod pair;
mod pending;
mod publish;
mod remote;
mod service;
mod stream;

pub use self::{
    client::AsyncClient,
    events::AsyncSubscription,
    pair::AsyncConnectedPair,
    pending::AsyncPending,
    remote::AsyncRemote,
    service::{AsyncContext, AsyncService, AsyncServing},
    stream::{AsyncDownlink, AsyncItems, AsyncSink, AsyncStreamCall, AsyncUplink},
};
