//! The frames of the minimal relay. The direct socket pair uses them too.

use std::{io, os::fd::BorrowedFd};

use super::{Dialect, Found, Part, Step};

/// The length of the relay's header.
pub(crate) const FLOOR_HEADER: usize = 16;

/// The receiver of a frame for all connections but the service's, the sender's own among them.
pub(crate) const EVERYONE: u32 = u32::MAX;

/// The relay's header: `body length u32, peer u32, serial u64`. In a frame to the relay `peer` is the receiver, in one from it the
/// sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FloorHeader {
    pub(crate) len: u32,
    pub(crate) peer: u32,
    /// The caller's number for the call.
    pub(crate) serial: u64,
}

/// The relay's dialect.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Floor;

impl FloorHeader {
    /// The header's bytes on the wire.
    pub(crate) fn to_bytes(self) -> [u8; FLOOR_HEADER] {
        let mut out = [0; FLOOR_HEADER];
        out[..4].copy_from_slice(&self.len.to_le_bytes());
        out[4..8].copy_from_slice(&self.peer.to_le_bytes());
        out[8..].copy_from_slice(&self.serial.to_le_bytes());
        out
    }

    /// Reads a header.
    pub(crate) fn from_bytes(b: &[u8; FLOOR_HEADER]) -> Self {
        Self {
            len: u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            peer: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
            serial: u64::from_le_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]),
        }
    }
}

impl Dialect for Floor {
    type Token = FloorHeader;

    fn introduce(&mut self, _socket: BorrowedFd<'_>, _part: Part) -> io::Result<()> {
        Ok(()) // The relay numbers connections in order. The service connects first and is peer 0.
    }

    fn put_call(&self, out: &mut Vec<u8>, body: &[u8]) {
        let len = u32::try_from(body.len()).expect("bodies of the benches fit u32");
        out.extend_from_slice(&FloorHeader { len, peer: 0, serial: 0 }.to_bytes());
        out.extend_from_slice(body);
    }

    fn put_event(&self, out: &mut Vec<u8>, body: &[u8]) {
        let len = u32::try_from(body.len()).expect("bodies of the benches fit u32");
        out.extend_from_slice(&FloorHeader { len, peer: EVERYONE, serial: 0 }.to_bytes());
        out.extend_from_slice(body);
    }

    fn renumber(&self, frame: &mut [u8], serial: u64) {
        frame[8..16].copy_from_slice(&serial.to_le_bytes());
    }

    fn put_reply(&self, out: &mut Vec<u8>, token: FloorHeader, body: &[u8]) {
        let len = u32::try_from(body.len()).expect("bodies of the benches fit u32");
        out.extend_from_slice(&FloorHeader { len, ..token }.to_bytes());
        out.extend_from_slice(body);
    }

    fn step(&self, bytes: &[u8]) -> Step<FloorHeader> {
        let Some(header) = bytes.first_chunk().map(FloorHeader::from_bytes) else { return Step::Incomplete };
        let len = FLOOR_HEADER + header.len as usize;
        if bytes.len() < len {
            return Step::Incomplete;
        }
        Step::Found(Found { len, body: FLOOR_HEADER..len, token: header })
    }
}
