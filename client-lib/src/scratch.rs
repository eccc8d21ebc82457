//! A buffer for each thread, in which requests are encoded: most calls allocate nothing.

use std::cell::Cell;

use bytes::Bytes;
use ipc_protocol::{Encoding, codec};
use serde::Serialize;

use crate::{
    error::Result,
    session::{Payload, outgoing::unencodable},
};

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Encodes a value and lets `send` have the bytes. The buffer is taken out meanwhile: a value whose encoding makes a call finds
/// another one.
///
/// # Errors
/// `too_large` or `invalid` if the value cannot be encoded; what `send` says.
pub(crate) fn with_body<T: Serialize, R>(
    encoding: Encoding,
    value: &T,
    send: impl FnOnce(Payload<'_>) -> Result<R>,
) -> Result<R> {
    let mut scratch = SCRATCH.take();
    scratch.clear();
    codec::encode_into(encoding, value, &mut scratch).map_err(|error| unencodable(&error))?;
    if scratch.len() > KEPT {
        return send(Payload::Shared(Bytes::from(scratch)));
    }
    let sent = send(Payload::Borrowed(&scratch));
    SCRATCH.set(scratch);
    sent
}

/// Longest body that the buffer is kept for, in bytes.
const KEPT: usize = 16 * 1024;
