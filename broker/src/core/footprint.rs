//! The footprint: the most memory that the broker takes at its limits, in the process and in the kernel.
//!
//! Everything that a peer can grow is bounded by a limit. Here are those of them that add up; what the others bound is charged to
//! `bytes_total`, and so is part of that.

use super::limits::{Bounded, Limits};

/// Bytes of memory, once all that this limit allows is there. `None` if they are counted under another limit.
pub(crate) fn of(bounded: Bounded, value: u64, limits: &Limits) -> Option<u64> {
    let bytes = match bounded {
        Bounded::Bytes => value.saturating_add(value / ALLOCATOR_SHARE),
        Bounded::Connections | Bounded::Backlog => value.saturating_mul(CONNECTION),
        // What is decided in a turn is sent at its end, even if it is more than a quota allows.
        Bounded::Turn => value.saturating_mul(FRAME).saturating_add(limits.frame_bytes()),
        Bounded::OneFrame
        | Bounded::ConnectionsOfOneUser
        | Bounded::BytesOfOneUser
        | Bounded::UnreadOfOnePeer
        | Bounded::CallsOfOneCaller
        | Bounded::CallsOfOneName
        | Bounded::NamesOfOnePeer
        | Bounded::SubscriptionsOfOnePeer
        | Bounded::PatternsOfOnePeer
        | Bounded::KeptOfOneUser
        | Bounded::Kept
        | Bounded::LocksOfOnePeer => return None,
    };
    Some(bytes)
}

/// Bytes of memory in all.
pub(crate) fn of_all(limits: &Limits) -> u64 {
    let each = limits.rows().filter_map(|row| of(row.bounded, row.value, limits));
    each.fold(OWN, u64::saturating_add)
}

/// The program, its read buffer and its empty tables; what the kernel holds unread and the broker has not asked for; answers to datagrams.
const OWN: u64 = 16 * 1024 * 1024;
/// A connection: about 1 KiB of the process, and the kernel's socket, inode, file and watch.
const CONNECTION: u64 = 4 * 1024;
/// The bytes in or out that count as a frame in a turn.
const FRAME: u64 = 4 * 1024;
/// The part of what is charged that the allocator needs besides: it rounds sizes, and can't use every gap.
const ALLOCATOR_SHARE: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_the_broker_takes_less_than_half_a_gigabyte() {
        let all = of_all(&Limits::default());
        assert!((1 << 28..1 << 29).contains(&all), "{all}");
    }

    #[test]
    fn the_greatest_limits_do_not_overflow() {
        let mut limits = Limits::default();
        let names: Vec<_> = limits.rows().map(|row| row.name).collect();
        names.iter().for_each(|name| *limits.get_mut(name).unwrap() = u64::MAX >> 1);
        assert_eq!(of_all(&limits), u64::MAX);
    }
}
