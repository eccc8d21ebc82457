//! The lengths that a header states, and what a section may have.

use bytes::Bytes;

use crate::{
    body::Body,
    wire::{
        frame::Violation,
        limits::{ADDED, MAX_CALL_ROUTING},
        routing::Routing,
    },
};

/// Refuses a section that would leave the broker no room for its stamp. The broker's own may have grown by what it added.
pub(crate) fn check_section(routing: &Routing, may_have_grown: bool) -> Result<(), Violation> {
    let limit = if may_have_grown { MAX_CALL_ROUTING + ADDED } else { MAX_CALL_ROUTING };
    let len = len_u16(routing.raw());
    if len > limit { Err(Violation::CallSectionTooLong(len)) } else { Ok(()) }
}

pub(crate) fn fds<F>(body: &Body<F>) -> u8 {
    u8::from(matches!(body, Body::Fd(_)))
}

pub(crate) fn body_len<F>(body: &Body<F>) -> u32 {
    u32::try_from(body.len()).expect("a body is checked against MAX_BODY before it is sent")
}

pub(crate) fn len_u16(bytes: &Bytes) -> u16 {
    u16::try_from(bytes.len()).expect("a routing section is built within MAX_ROUTING")
}
