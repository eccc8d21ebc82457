//! The calls that one caller waits for, by the caller's own numbers.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::ids::CallId;

/// Pending calls in the order of their numbers, which is that of their arrival.
///
/// ```text
/// 7 -> a, 8 -> gone, 9 -> c, 12 -> d     a call that has ended leaves a gap, unless it is the first or the last
/// ```
///
/// A call is found by its distance from the first one, or by bisection where the caller leaves out numbers. So a cancel of a call
/// that isn't there costs the same with one pending call and with a thousand.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pending {
    calls: VecDeque<(u64, Option<CallId>)>,
    len: u32,
}

impl Pending {
    /// Adds a call. Its number is higher than all before.
    #[inline]
    pub(crate) fn push(&mut self, number: u64, call: CallId) {
        self.calls.push_back((number, Some(call)));
        self.len += 1;
    }

    /// Removes the call with this number.
    #[inline]
    pub(crate) fn remove(&mut self, number: u64) {
        match self.calls.front() {
            Some((first, _)) if *first == number => drop(self.calls.pop_front()), // a gap is never the first
            _ => {
                let Some(place) = self.place_of(number).and_then(|at| self.calls.get_mut(at)) else { return };
                if place.1.take().is_none() {
                    return;
                }
            }
        }
        self.len -= 1;
        while self.calls.front().is_some_and(|(_, call)| call.is_none()) {
            self.calls.pop_front();
        }
        let (room, used) = (self.calls.capacity(), self.calls.len());
        if used > GAPS + 2 * self.len as usize || room > 4 * GAPS && room > 8 * used {
            self.tidy();
        }
    }

    /// The call with this number.
    pub(crate) fn find(&self, number: u64) -> Option<CallId> {
        self.calls.get(self.place_of(number)?)?.1
    }

    /// The oldest call.
    pub(crate) fn first(&self) -> Option<CallId> {
        self.calls.front()?.1 // a gap is never the first
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    fn place_of(&self, number: u64) -> Option<usize> {
        let (first, _) = self.calls.front()?;
        let distance = usize::try_from(number.checked_sub(*first)?).ok()?;
        match self.calls.get(distance) {
            Some((found, _)) if *found == number => Some(distance),
            _ => self.calls.binary_search_by_key(&number, |(number, _)| *number).ok(),
        }
    }

    /// Closes the gaps and gives memory back. This costs as much as the removals since the last time, which have left most of the
    /// room empty.
    #[cold]
    fn tidy(&mut self) {
        self.calls.retain(|(_, call)| call.is_some());
        self.calls.shrink_to(2 * self.calls.len() + GAPS);
    }

    /// The calls with their numbers. For the invariants.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, CallId)> {
        self.calls.iter().filter_map(|(number, call)| Some((*number, (*call)?)))
    }

    /// Checks the order and the count. For the invariants.
    ///
    /// # Panics
    /// If they are wrong.
    pub(crate) fn assert_whole(&self) {
        assert!(self.calls.iter().is_sorted_by(|one, next| one.0 < next.0), "out of order: {:?}", self.calls);
        assert!(self.calls.front().is_none_or(|(_, call)| call.is_some()), "a gap comes first");
        assert_eq!(self.iter().count(), self.len as usize, "the number of pending calls");
        assert!(self.calls.len() <= GAPS + 2 * self.len as usize, "too many gaps");
    }
}

/// Gaps that are kept however few calls there are: a caller with a handful of calls never pays for closing them.
const GAPS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::Id;

    fn call(index: u64) -> CallId {
        Id::from_bits(1 << 32 | index).unwrap()
    }

    fn pending(numbers: impl IntoIterator<Item = u64>) -> Pending {
        let mut pending = Pending::default();
        numbers.into_iter().for_each(|number| pending.push(number, call(number)));
        pending
    }

    #[test]
    fn a_call_is_found_by_its_callers_number_and_by_no_other() {
        let pending = pending([2, 5, 6, 900]);
        let found = [1, 2, 3, 5, 6, 7, 900, 901, u64::MAX].map(|number| pending.find(number));
        let expected = [None, Some(2), None, Some(5), Some(6), None, Some(900), None, None].map(|n| n.map(call));
        assert_eq!(found, expected);
    }

    #[test]
    fn calls_end_in_any_order() {
        let mut pending = pending(1..=100);
        let order = (1..=100).map(|at| at * 37 % 101);
        order.zip(0..).for_each(|(number, ended)| {
            assert_eq!((pending.len(), pending.find(number)), (100 - ended, Some(call(number))));
            pending.remove(number);
            pending.assert_whole();
            assert_eq!(pending.find(number), None);
        });
        assert!(pending.is_empty() && pending.first().is_none());
    }

    #[test]
    fn a_number_removed_twice_counts_once() {
        let mut pending = pending([1, 2, 3]);
        [2, 2, 7].into_iter().for_each(|number| pending.remove(number));
        assert_eq!((pending.len(), pending.first()), (2, Some(call(1))));
    }

    #[test]
    fn memory_of_calls_that_have_ended_is_given_back() {
        let (mut oldest_last, mut oldest_first) = (pending(1..=100_000), pending(1..=100_000));
        (2..=100_000).for_each(|number| oldest_last.remove(number));
        (1..=100_000).for_each(|number| oldest_first.remove(number));
        assert!(oldest_last.calls.capacity() <= 64, "{}", oldest_last.calls.capacity());
        assert!(oldest_first.calls.capacity() <= 64, "{}", oldest_first.calls.capacity());
    }

    /// It would take minutes if each of them looked at every call.
    #[test]
    fn a_million_cancels_of_nothing_cost_nothing_like_a_million_searches() {
        let pending = pending((1..=100_000).map(|number| 2 * number));
        assert!((0..1_000_000).all(|number| pending.find(2 * (number % 100_000) + 1).is_none()));
    }
}
