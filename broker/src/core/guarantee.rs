//! The guarantee: the part of the memory that each user who may do anything is sure of, whatever the others hold.
//!
//! ```text
//! bytes_total   |-- guaranteed: `each` x users --|-------- the rest: first come, first served --------|
//! ```
//!
//! A user fills its own part first, which needs no look at what the others hold. Only what it holds beyond that is taken from the rest.

use serde::{Deserialize, Serialize};

use super::limits::Limits;

/// What each user is sure of, and how much of the rest is in use.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Guarantee {
    /// Bytes that each user is sure of.
    each: u64,
    /// Users who are sure of them: those who may do anything, and hold something.
    users: u64,
    /// Bytes in use of the rest.
    pub(crate) beyond: u64,
}

impl Guarantee {
    /// Bytes that each user is sure of.
    #[inline]
    pub(crate) fn each(&self) -> u64 {
        self.each
    }

    /// The part of what one user holds that is taken from the rest.
    #[inline]
    pub(crate) fn beyond_of(&self, held: u64) -> u64 {
        held.saturating_sub(self.each)
    }

    /// Bytes that no one is sure of.
    pub(crate) fn rest(&self, limits: &Limits) -> u64 {
        limits.bytes_total.saturating_sub(self.each.saturating_mul(self.users))
    }

    /// A user comes or goes.
    pub(crate) fn set_users(&mut self, change: impl FnOnce(u64) -> u64) {
        self.users = change(self.users);
    }

    /// Fits the guarantee to the number of users and to the limits: all guarantees together take at most half of what there is besides
    /// the longest frame. Returns whether it has changed, and what each user holds of the rest has to be counted again.
    ///
    /// It is halved when there are too many users, and grows only when there are half as many, so that one who comes and goes at the
    /// boundary doesn't have it counted each time.
    pub(crate) fn settle(&mut self, limits: &Limits) -> bool {
        let most = limits.bytes_guaranteed.min(limits.bytes_per_uid);
        let share = limits.bytes_total.saturating_sub(limits.least_quota()) / 2 / self.users.max(1);
        let halved_to = |fits: u64| {
            let halves = (0..u64::BITS).map(|halvings| most >> halvings);
            halves.into_iter().find(|each| *each <= fits).unwrap_or(0)
        };
        let before = self.each;
        self.each = before.clamp(halved_to(share / 2), halved_to(share));
        self.each != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_users(guarantee: &mut Guarantee, users: u64) -> u64 {
        let limits = Limits { bytes_guaranteed: 1_000, bytes_total: 101_000, body_bytes: 1, ..Limits::default() };
        let limits = Limits { bytes_total: 16_000 + limits.least_quota(), ..limits };
        guarantee.set_users(|_| users);
        guarantee.settle(&limits);
        guarantee.each()
    }

    #[test]
    fn all_guarantees_take_at_most_half_of_what_there_is() {
        let mut guarantee = Guarantee::default();
        let each = [1, 8, 9, 16, 17, 160, 16_000].map(|users| of_users(&mut guarantee, users));
        assert_eq!(each, [1_000, 1_000, 500, 500, 250, 31, 0]);
    }

    #[test]
    fn a_user_who_comes_and_goes_does_not_change_what_the_others_are_sure_of() {
        let mut guarantee = Guarantee::default();
        let each = [1, 8, 9, 8, 9, 5, 4].map(|users| of_users(&mut guarantee, users));
        assert_eq!(each, [1_000, 1_000, 500, 500, 500, 500, 1_000]);
    }

    #[test]
    fn there_is_always_room_for_the_longest_frame_of_who_holds_nothing_else() {
        let mut guarantee = Guarantee::default();
        let limits = Limits { bytes_total: 3 * 1_048_576, ..Limits::default() };
        for users in [1, 2, 1_000] {
            guarantee.set_users(|_| users);
            guarantee.settle(&limits);
            assert!(guarantee.rest(&limits) >= limits.least_quota(), "{users} users");
        }
    }
}
