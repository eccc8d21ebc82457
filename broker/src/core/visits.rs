//! Visits: how often users who may do nothing connect. To accept a connection and to close it again takes the broker longer than to
//! make one takes them, so one who connects in a loop would have all of its time.

use serde::{Deserialize, Serialize};

use super::{limits::Limits, moment::Moment};

/// What becomes of a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It comes in, if there is a place.
    Granted,
    /// It is told that it comes too often.
    Refused,
    /// Its connection is closed without a word, as the last ones were told.
    Ignored,
}

/// The recent visits of each stranger.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Visits {
    /// By user id modulo their number, so that memory doesn't grow with the users. Those who share a bucket may do nothing either.
    buckets: Vec<Bucket>,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Bucket {
    /// Visits that it has left. Below zero, those who were refused and told so.
    left: i64,
    /// When it was last filled.
    filled: Moment,
}

impl Visits {
    /// Decides on a visit of a user who may do nothing.
    pub(crate) fn admit(&mut self, now: Moment, uid: u32, limits: &Limits) -> Admission {
        if self.buckets.is_empty() {
            self.buckets = vec![Bucket { left: AT_ONCE, filled: now }; BUCKETS];
        }
        let Some(bucket) = self.buckets.get_mut(uid as usize % BUCKETS) else { return Admission::Ignored };
        bucket.fill(now, limits.connects_strangers);
        if bucket.left <= -TOLD {
            return Admission::Ignored;
        }
        bucket.left -= 1;
        if bucket.left >= 0 { Admission::Granted } else { Admission::Refused }
    }
}

impl Bucket {
    fn fill(&mut self, now: Moment, a_second: u64) {
        let new = now.since(self.filled).as_millis() * u128::from(a_second) / 1_000;
        if new > 0 {
            self.left = AT_ONCE.min(self.left.saturating_add(i64::try_from(new).unwrap_or(i64::MAX)));
            self.filled = now;
        }
    }
}

/// Enough that two strangers rarely share one; 16 KiB in all.
const BUCKETS: usize = 1_024;
/// Connections at once, of one who has not connected for a while: twice those that the default limit lets it have.
const AT_ONCE: i64 = 1_024;
/// Refusals in a row that are told. To tell takes as long as to accept.
const TOLD: i64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn admissions<const N: usize>(visits: &mut Visits, at_ms: u64, uid: u32, limits: &Limits) -> [Admission; N] {
        [(); N].map(|()| visits.admit(Moment(at_ms * 1_000), uid, limits))
    }

    #[test]
    fn who_connects_too_often_is_told_so_and_then_ignored_until_time_has_passed() {
        use Admission::{Granted, Ignored, Refused};
        let limits = Limits { connects_strangers: 10, ..Limits::default() };
        let mut visits = Visits::default();
        assert_eq!(admissions(&mut visits, 0, 7, &limits), [Granted; 1_024]);
        assert_eq!(admissions(&mut visits, 50, 8, &limits), [Granted], "another user");
        assert_eq!(admissions(&mut visits, 99, 7, &limits), [Refused; 16]);
        assert_eq!(admissions(&mut visits, 99, 7, &limits), [Ignored, Ignored]);
        let later: [_; 15] = admissions(&mut visits, 3_000, 7, &limits);
        assert_eq!((later[0], later[14]), (Granted, Refused), "{later:?}");
    }

    #[test]
    fn small_steps_of_time_add_up() {
        let limits = Limits { connects_strangers: 10, ..Limits::default() };
        let mut visits = Visits::default();
        let _: [_; 1_023] = admissions(&mut visits, 0, 7, &limits);
        let granted = (0..1_000).filter(|ms| {
            let [admission] = admissions(&mut visits, *ms, 7, &limits);
            admission == Admission::Granted
        });
        assert_eq!(granted.count(), 1, "who goes on is refused for as long");
    }
}
