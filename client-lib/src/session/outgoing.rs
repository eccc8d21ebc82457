//! From values to calls and from replies to values: encodings, timeouts, and what is said when they do not fit.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ipc_protocol::{
    Call, Encoding, ErrorCode, MethodName, Retry, Routing,
    codec::{self, CodecError},
    control,
    limits::{DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{Error, Result},
    request::{Request, Response},
    session::routes::{self, misnamed},
};

/// Whether a call of bytes wants a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It does.
    Wanted,
    /// One way.
    Unwanted,
}

/// A call of bytes, ready to be sent.
///
/// # Errors
/// `usage` for a trace context that is too long.
pub(crate) fn outgoing_bytes(request: Request, answer: Answer) -> Result<Call> {
    let routing = routes::of_request(&request)?;
    let call = outgoing(routing, request.encoding, request.body, request.timeout);
    Ok(Call { one_way: answer == Answer::Unwanted, ..call })
}

/// A call of the broker's own service, ready to be sent.
///
/// # Errors
/// `usage` if `operation` is no method name.
pub(crate) fn outgoing_control<Q: Serialize>(operation: &str, request: &Q, timeout: Option<Duration>) -> Result<Call> {
    let method = MethodName::parse(operation).map_err(|error| misnamed("method", operation, &error))?;
    let body = encode(Encoding::JSON, request)?;
    let routing = Routing::to(control::SERVICE, method.as_str()).build();
    Ok(outgoing(routing, Encoding::JSON, body, timeout))
}

/// A call that wants a reply. Its id is given where it is sent.
pub(crate) fn outgoing(routing: Routing, encoding: Encoding, body: Bytes, timeout: Option<Duration>) -> Call {
    let timeout_ms = timeout_ms(timeout);
    Call { id: 0, one_way: false, encoding, timeout_ms, caller: Bytes::new(), routing, body: body.into() }
}

/// Reads a reply.
///
/// # Errors
/// `protocol`, and a retry is not safe: the call has run.
pub(crate) fn decode_reply<A: DeserializeOwned>(service: &str, method: &str, response: &Response) -> Result<A> {
    codec::decode(response.encoding, &response.body).map_err(|error| {
        let text = format!("the reply of {service}.{method} is not what this program expects: {error}");
        Error::new(ErrorCode::PROTOCOL, text).with_retry(Retry::Unknown)
    })
}

/// When a call that starts now is given up here, should the broker not keep its deadline.
pub(crate) fn span(timeout_ms: u32) -> (Instant, Instant) {
    let timeout_ms = if timeout_ms == 0 { DEFAULT_TIMEOUT_MS } else { timeout_ms };
    let now = Instant::now();
    (now, now + Duration::from_millis(u64::from(timeout_ms)) + GRACE)
}

/// A body.
///
/// # Errors
/// `too_large` or `invalid`.
pub(crate) fn encode<T: Serialize>(encoding: Encoding, value: &T) -> Result<Bytes> {
    codec::encode(encoding, value).map(into_bytes).map_err(|error| unencodable(&error))
}

/// A body that has its exact size: a vector with room to spare would take a second allocation to be counted.
pub(crate) fn into_bytes(body: Vec<u8>) -> Bytes {
    Bytes::from(body.into_boxed_slice())
}

/// What a request that cannot be encoded ends with.
pub(crate) fn unencodable(error: &CodecError) -> Error {
    let code = match error {
        CodecError::TooLarge(_) => ErrorCode::TOO_LARGE,
        _ => ErrorCode::INVALID,
    };
    Error::new(code, format!("the request cannot be sent: {error}"))
}

/// On the wire 0 means the default, so the shortest timeout is 1 ms; a part of a millisecond counts as a whole one.
fn timeout_ms(timeout: Option<Duration>) -> u32 {
    timeout.map_or(0, |timeout| {
        let ms = timeout.as_nanos().div_ceil(1_000_000);
        u32::try_from(ms).unwrap_or(u32::MAX).clamp(1, MAX_TIMEOUT_MS)
    })
}

/// How much longer than the deadline a caller waits for the broker to say that it has passed.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_saturate() {
        assert_eq!(timeout_ms(None), 0);
        assert_eq!(timeout_ms(Some(Duration::ZERO)), 1);
        assert_eq!(timeout_ms(Some(Duration::from_micros(1_001))), 2);
        assert_eq!(timeout_ms(Some(Duration::from_millis(u64::MAX))), MAX_TIMEOUT_MS);
        assert_eq!(timeout_ms(Some(Duration::MAX)), MAX_TIMEOUT_MS);
    }
}
