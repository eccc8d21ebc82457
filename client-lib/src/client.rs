//! The calling side.
#![allow(missing_docs, unused_variables, clippy::missing_errors_doc)]
use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use ipc_protocol::{ErrorCode, PeerNumber, transport::Address};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    connect::Connect,
    error::{CallError, Error, Result},
    method::Method,
    pending::{Pending, PendingBytes},
    request::{Request, Response},
};

#[derive(Clone, Debug)]
pub struct Client(Arc<()>);

pub(crate) fn not_yet<T>() -> Result<T> {
    Err(Error::new(ErrorCode::UNAVAILABLE, "not built yet"))
}

impl Client {
    pub fn connect() -> Result<Self> {
        not_yet()
    }
    pub fn connect_to(address: &Address) -> Result<Self> {
        not_yet()
    }
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        not_yet()
    }
    pub fn builder() -> Connect {
        Connect::new()
    }
    pub fn call<M: Method>(&self, request: &M) -> Result<M::Reply, CallError<M::Error>> {
        Ok(not_yet()?)
    }
    pub fn call_within<M: Method>(&self, request: &M, timeout: Duration) -> Result<M::Reply, CallError<M::Error>> {
        Ok(not_yet()?)
    }
    pub fn start<M: Method>(&self, request: &M) -> Result<Pending<M>> {
        not_yet()
    }
    pub fn cork(&self) -> Corked<'_> {
        Corked { client: self }
    }
    pub fn call_bytes(&self, request: Request) -> Result<Response> {
        not_yet()
    }
    pub fn start_bytes(&self, request: Request) -> Result<PendingBytes> {
        not_yet()
    }
    pub fn one_way(&self, request: Request) -> Result<()> {
        not_yet()
    }
    pub fn control<Q: Serialize, A: DeserializeOwned>(
        &self,
        operation: &str,
        request: &Q,
        timeout: Option<Duration>,
    ) -> Result<A> {
        not_yet()
    }
    pub fn ping(&self) -> Result<Duration> {
        not_yet()
    }
    #[must_use]
    pub fn peer(&self) -> PeerNumber {
        PeerNumber(0)
    }
}

#[must_use]
pub struct Corked<'a> {
    #[expect(dead_code)]
    client: &'a Client,
}
