//! The answering side.
#![allow(missing_docs, unused_variables, dead_code, clippy::missing_errors_doc)]
mod call;
mod cancel;
mod failed;

use ipc_protocol::{PeerNumber, transport::Address};

pub use self::{
    call::{Caller, Context, Incoming},
    cancel::CancelToken,
    failed::Failed,
};
use crate::{
    client::{Client, not_yet},
    error::Result,
    method::Method,
    request::Response,
};

#[must_use]
pub struct Service(());

impl Service {
    pub fn new(name: &str) -> Self {
        Self(())
    }
    pub fn anonymous() -> Self {
        Self(())
    }
    pub fn threads(self, n: usize) -> Self {
        self
    }
    pub fn window(self, n: u32) -> Self {
        self
    }
    pub fn shared(self) -> Self {
        self
    }
    pub fn agent(self, agent: &str) -> Self {
        self
    }
    pub fn address(self, address: &Address) -> Self {
        self
    }
    pub fn method<M: Method>(
        self,
        f: impl Fn(M, &Context) -> Result<M::Reply, M::Error> + Send + Sync + 'static,
    ) -> Self {
        self
    }
    pub fn quick<M: Method>(
        self,
        f: impl Fn(M, &Caller) -> Result<M::Reply, M::Error> + Send + Sync + 'static,
    ) -> Self {
        self
    }
    pub fn any(self, f: impl Fn(&Incoming, &Context) -> Result<Response, Failed> + Send + Sync + 'static) -> Self {
        self
    }
    pub fn start(self) -> Result<Serving> {
        not_yet()
    }
    pub fn run(self) -> Result<()> {
        not_yet()
    }
}

#[derive(Debug)]
pub struct Serving {
    client: Client,
}

impl Serving {
    pub fn stop(&self) {}
    pub fn wait(&self) -> Result<()> {
        not_yet()
    }
    #[must_use]
    pub fn peer(&self) -> PeerNumber {
        PeerNumber(0)
    }
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }
}
