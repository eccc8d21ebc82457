//! Calls by datagram.
#![allow(missing_docs, unused_variables, clippy::missing_errors_doc)]
use ipc_protocol::transport::Address;

use crate::{
    error::Result,
    not_yet,
    request::{Request, Response},
};

#[derive(Debug)]
pub struct Datagram(());

impl Datagram {
    pub fn connect() -> Result<Self> {
        not_yet()
    }
    pub fn connect_to(address: &Address) -> Result<Self> {
        not_yet()
    }
    pub fn one_way(&self, request: Request) -> Result<()> {
        not_yet()
    }
    pub fn call_bytes(&self, request: Request) -> Result<Response> {
        not_yet()
    }
}
