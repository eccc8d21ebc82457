//! Clients and services for the runtime tokio: what the blocking ones do, with futures in the place of threads.

mod calls;
mod client;
mod events;
mod line;
mod lock;
mod pair;
mod pending;
mod publish;
mod remote;
mod service;
mod stream;

pub use self::{
    client::AsyncClient,
    events::AsyncSubscription,
    lock::AsyncLockGuard,
    pair::AsyncConnectedPair,
    pending::{AsyncPending, AsyncPendingBytes},
    remote::AsyncRemote,
    service::{AsyncContext, AsyncService, AsyncServing},
    stream::{
        AsyncDownlink, AsyncDownlinkBytes, AsyncItems, AsyncItemsBytes, AsyncSink, AsyncSinkBytes, AsyncStreamCall,
        AsyncStreamCallBytes, AsyncUplink, AsyncUplinkBytes,
    },
};
