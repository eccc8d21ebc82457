//! Calls that are under way.
#![allow(missing_docs, unused_variables, clippy::missing_errors_doc)]
use std::{marker::PhantomData, os::fd::BorrowedFd};

use crate::{
    client::not_yet,
    error::{CallError, Result},
    method::Method,
    request::Response,
};

#[must_use]
pub struct Pending<M: Method>(PhantomData<fn() -> M>);

impl<M: Method> Pending<M> {
    pub fn wait(self) -> Result<M::Reply, CallError<M::Error>> {
        Ok(not_yet()?)
    }
    pub fn cancel(self) {}
}

#[must_use]
pub struct PendingBytes(());

impl PendingBytes {
    pub fn wait(self) -> Result<Response> {
        not_yet()
    }
    pub fn wait_or_interrupt(self, fd: BorrowedFd<'_>) -> Result<Response> {
        not_yet()
    }
    pub fn cancel(self) {}
}
