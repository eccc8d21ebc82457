//! Who a peer is, as the kernel said when it connected: read by the broker, stamped on each delivered call.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::wire::{
    limits::MAX_GROUPS,
    name::PeerNumber,
    routing::{FieldTag, RoutingError},
};

/// A peer's identity. Nothing in it comes from the peer itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Identity {
    /// Effective user id at connect.
    pub uid: u32,
    /// Effective group id at connect.
    pub gid: u32,
    /// Process id at connect; `None` if the peer is in a pid namespace that the broker can't see. For display: it may be
    /// reused once the process is gone.
    pub pid: Option<u32>,
    /// Inode of the process's pidfd, unique until reboot; `None` where the kernel doesn't tell (before Linux 6.9, datagrams).
    pub process: Option<u64>,
    /// Supplementary groups at connect, at most [`MAX_GROUPS`] of them.
    pub groups: Vec<u32>,
    /// Whether groups are missing from `groups`: there were more than fit, or the kernel doesn't tell (datagrams).
    pub groups_incomplete: bool,
}

impl Identity {
    /// Identity of `uid` and `gid`, everything else unknown.
    #[must_use]
    pub fn new(uid: u32, gid: u32) -> Self {
        Self { uid, gid, ..Self::default() }
    }

    /// The `CALLER` field of a delivered call, tag and length included (docs/protocol.md, "Caller").
    #[must_use]
    pub fn stamp(&self, peer: Option<PeerNumber>) -> Bytes {
        let groups = &self.groups[..self.groups.len().min(MAX_GROUPS)];
        let incomplete = self.groups_incomplete || groups.len() < self.groups.len();
        let mut out = BytesMut::with_capacity(3 + Self::FIXED + 4 * groups.len());
        out.put_u8(FieldTag::CALLER.0);
        out.put_u16_le(u16::try_from(Self::FIXED + 4 * groups.len()).expect("64 groups and a fixed part fit u16"));
        out.put_u32_le(self.uid);
        out.put_u32_le(self.gid);
        out.put_u32_le(self.pid.unwrap_or(0));
        out.put_u32_le(u32::from(incomplete));
        out.put_u64_le(self.process.unwrap_or(0));
        out.put_u64_le(peer.map_or(0, |number| number.0));
        for group in groups {
            out.put_u32_le(*group);
        }
        out.freeze()
    }

    /// Reads a `CALLER` field, tag and length included.
    ///
    /// # Errors
    /// [`RoutingError::Size`] if the field is not of the form that [`Identity::stamp`] writes.
    pub fn from_stamp(field: &[u8]) -> Result<(Self, Option<PeerNumber>), RoutingError> {
        let bad = RoutingError::Size(FieldTag::CALLER.0);
        let value = field.get(3..).ok_or(bad)?;
        let (fixed, groups) = value.split_first_chunk::<{ Self::FIXED }>().ok_or(bad)?;
        let (groups, []) = groups.as_chunks::<4>() else { return Err(bad) };
        let word = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let identity = Self {
            uid: word(0),
            gid: word(4),
            pid: Some(word(8)).filter(|pid| *pid != 0),
            groups_incomplete: word(12) & 1 != 0,
            process: Some(long(16)).filter(|inode| *inode != 0),
            groups: groups.iter().map(|group| u32::from_le_bytes(*group)).collect(),
        };
        Ok((identity, Some(long(24)).filter(|number| *number != 0).map(PeerNumber)))
    }

    /// uid, gid, pid, flags, process, peer.
    const FIXED: usize = 32;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_a_round_trip() {
        let identity = Identity {
            pid: Some(7),
            process: Some(1 << 40),
            groups: vec![4, 24, 1000],
            groups_incomplete: true,
            ..Identity::new(1000, 100)
        };
        let stamp = identity.stamp(Some(PeerNumber(9)));
        assert_eq!(Identity::from_stamp(&stamp), Ok((identity, Some(PeerNumber(9)))));
    }

    #[test]
    fn every_truncation_of_a_stamp_is_refused_or_has_fewer_groups() {
        let stamp = Identity { groups: vec![1, 2], ..Identity::new(1, 1) }.stamp(None);
        for cut in 0..35 {
            assert!(Identity::from_stamp(&stamp[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Identity::from_stamp(&stamp[..36]).is_err());
    }

    #[test]
    fn groups_over_the_limit_are_left_out_and_said_so() {
        let many = Identity { groups: (0..100).collect(), ..Identity::new(1, 1) };
        let (read, _) = Identity::from_stamp(&many.stamp(None)).unwrap();
        assert_eq!(read.groups.len(), MAX_GROUPS);
        assert!(read.groups_incomplete);
    }
}
