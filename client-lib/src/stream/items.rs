//! The caller's items, as a service takes them.

use std::{fmt, marker::PhantomData, time::Instant};

use serde::de::DeserializeOwned;

use super::receiving::{Receiving, read};
use crate::{error::Result, request::Response};

/// The items of a caller, as an iterator. It ends with an error when the caller cancels, dies, or says that its items aren't complete.
///
/// The caller may send as many items as are taken, and up to 256 items or 256 KiB more.
pub struct Items<T> {
    half: Receiving,
    items: PhantomData<fn() -> T>,
}

impl<T> Items<T> {
    pub(crate) fn new(half: Receiving) -> Self {
        Self { half, items: PhantomData }
    }
}

impl<T: DeserializeOwned> Iterator for Items<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        self.half.next().map(|item| read(&item?))
    }
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Items").field(&self.half).finish()
    }
}

/// The items of a caller as they came. As [`Items`] otherwise.
#[derive(Debug)]
pub struct ItemsBytes {
    half: Receiving,
}

impl ItemsBytes {
    pub(crate) fn new(half: Receiving) -> Self {
        Self { half }
    }

    /// Waits for the next item until a time: `None` if there was none, `Some(None)` at the end of the items.
    ///
    /// # Errors
    /// Why the items ended before they were complete.
    pub fn next_until(&mut self, until: Instant) -> Result<Option<Option<Response>>> {
        self.half.next_until(Some(until), None)
    }
}

impl Iterator for ItemsBytes {
    type Item = Result<Response>;

    fn next(&mut self) -> Option<Self::Item> {
        self.half.next()
    }
}
