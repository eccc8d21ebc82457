//! What a call is told: the thread of the server tells it, the call's own takes it. A caller that takes nothing holds up neither that
//! thread nor memory: of its progress the latest is kept.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde_json::Value;

use crate::mcp::message::Fault;

/// One thing that a call is told.
#[derive(Debug, PartialEq)]
pub(super) enum News {
    /// How far it is, in JSON.
    Progress(String),
    /// What it ended with.
    Answer(Result<Value, Fault>),
    /// The server has ended: how.
    Gone(String),
    /// Its caller waits no more.
    Cancelled,
}

/// Tells a call.
#[derive(Clone, Debug)]
pub(super) struct Teller(Arc<Letterbox>);

/// Where a call takes what it is told.
#[derive(Debug)]
pub(super) struct Letters(Arc<Letterbox>);

#[derive(Debug, Default)]
struct Letterbox {
    kept: Mutex<Kept>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Kept {
    progress: VecDeque<String>,
    /// Of all progress.
    bytes: usize,
    end: Option<News>,
}

/// The two sides for one call.
pub(super) fn post() -> (Teller, Letters) {
    let letterbox = Arc::new(Letterbox::default());
    (Teller(letterbox.clone()), Letters(letterbox))
}

impl Teller {
    /// Tells it. Of several ends the first counts; progress that isn't taken makes room for later one.
    pub(super) fn tell(&self, news: News) {
        let mut kept = self.0.kept();
        match news {
            News::Progress(said) => kept.keep(said),
            end @ (News::Answer(_) | News::Gone(_) | News::Cancelled) => drop(kept.end.get_or_insert(end)),
        }
        self.0.changed.notify_all();
    }
}

impl Letters {
    /// Waits for the next thing that is told; none if the time comes first, however much progress there is.
    pub(super) fn next(&self, until: Instant) -> Option<News> {
        let mut kept = self.0.kept();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if let Some(news) = kept.take(left.is_zero()) {
                return Some(news);
            }
            if left.is_zero() {
                return None;
            }
            (kept, _) = self.0.changed.wait_timeout(kept, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What is there already.
    pub(super) fn take(&self) -> Option<News> {
        self.0.kept().take(false)
    }
}

impl Letterbox {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn keep(&mut self, said: String) {
        self.bytes += said.len();
        self.progress.push_back(said);
        while self.progress.len() > MOST || self.bytes > MOST_BYTES && self.progress.len() > 1 {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) -> Option<String> {
        let said = self.progress.pop_front()?;
        self.bytes -= said.len();
        Some(said)
    }

    /// Progress comes before the end, unless it is of no more use.
    fn take(&mut self, is_late: bool) -> Option<News> {
        if !is_late
            && self.end != Some(News::Cancelled)
            && let Some(said) = self.drop_oldest()
        {
            return Some(News::Progress(said));
        }
        self.end.take()
    }
}

/// Notifications that wait for a caller: a burst, for one that reads.
const MOST: usize = 64;
/// Bytes of them, beyond a single one, which is a line at the most.
const MOST_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_progress_that_is_not_taken_the_latest_is_kept() {
        let (teller, letters) = post();
        (0..1_000).for_each(|number| teller.tell(News::Progress(number.to_string())));
        assert_eq!(letters.take(), Some(News::Progress((1_000 - MOST).to_string())));
        let kept = std::iter::from_fn(|| letters.take());
        assert_eq!(kept.last(), Some(News::Progress("999".to_owned())));
    }

    #[test]
    fn long_progress_makes_room_sooner_and_a_single_one_stays() {
        let (teller, letters) = post();
        (0..3).for_each(|_| teller.tell(News::Progress("x".repeat(MOST_BYTES))));
        assert_eq!(letters.0.kept().bytes, MOST_BYTES);
        teller.tell(News::Progress("x".repeat(MOST_BYTES * 2)));
        assert_eq!(std::iter::from_fn(|| letters.take()).count(), 1);
        assert_eq!(letters.0.kept().bytes, 0);
    }

    #[test]
    fn the_first_end_counts_and_comes_after_the_progress() {
        let (teller, letters) = post();
        let news = [News::Progress("1".into()), News::Gone("ended".into()), News::Cancelled];
        news.into_iter().for_each(|news| teller.tell(news));
        let told: Vec<News> = std::iter::from_fn(|| letters.take()).collect();
        assert_eq!(told, [News::Progress("1".into()), News::Gone("ended".into())]);
    }

    #[test]
    fn a_cancel_comes_before_the_progress() {
        let (teller, letters) = post();
        [News::Progress("1".into()), News::Cancelled].into_iter().for_each(|news| teller.tell(news));
        assert_eq!(letters.take(), Some(News::Cancelled));
    }

    #[test]
    fn progress_keeps_no_call_beyond_its_time() {
        let (teller, letters) = post();
        teller.tell(News::Progress("1".into()));
        assert_eq!(letters.next(Instant::now()), None);
        teller.tell(News::Answer(Ok(Value::Null)));
        assert_eq!(letters.next(Instant::now()), Some(News::Answer(Ok(Value::Null))));
    }
}
