//! How a connection is made.
#![allow(missing_docs, unused_variables, clippy::missing_errors_doc)]
use std::time::Duration;

use ipc_protocol::transport::Address;

use crate::{
    client::{Client, not_yet},
    error::Result,
};

#[derive(Clone, Debug)]
#[must_use]
pub struct Connect {}

impl Connect {
    pub(crate) fn new() -> Self {
        Self {}
    }
    pub fn agent(self, agent: &str) -> Self {
        self
    }
    pub fn patience(self, patience: Duration) -> Self {
        self
    }
    pub fn address(self, address: &Address) -> Self {
        self
    }
    pub fn connect(self) -> Result<Client> {
        not_yet()
    }
}
