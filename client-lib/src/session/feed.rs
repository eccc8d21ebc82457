//! The events of one subscription that the program hasn't taken yet: bounded, with what was lost counted in its place.

use std::collections::{BTreeMap, HashMap};

use ipc_protocol::{Event, control::Keeping};

/// What a subscription keeps while the program takes nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keep {
    /// Which events are lost past the limit.
    pub(crate) keeping: Keeping,
    /// How many may wait, at least one.
    pub(crate) events: usize,
}

/// What a subscription has for the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// An event, and its place among those of all subscriptions.
    Event(u64, Event),
    /// This number of events was lost here.
    Gap(u64),
    /// It has been cut: more waited than it may keep.
    Cut,
}

/// Events in the order in which they came.
#[derive(Debug)]
pub(super) struct Feed {
    keep: Keep,
    /// By the order in which they came, which has holes.
    waiting: BTreeMap<u64, Entry>,
    /// Bytes that wait.
    bytes: usize,
    /// Where the event of each topic is, if there is one of each at most.
    topics: HashMap<Box<str>, u64>,
    /// Events lost behind the last that waits.
    lost: u64,
    is_cut: bool,
}

#[derive(Debug)]
struct Entry {
    event: Event,
    /// Events lost right before it.
    lost: u64,
}

impl Feed {
    pub(super) fn new(keep: Keep) -> Self {
        let (waiting, topics) = (BTreeMap::new(), HashMap::new());
        Self { keep, waiting, bytes: 0, topics, lost: 0, is_cut: false }
    }

    /// Takes an event in, which lies in memory of its own. `place` grows with each.
    pub(super) fn push(&mut self, place: u64, event: Event) {
        if self.is_cut {
            return;
        }
        if self.keep.keeping == Keeping::Latest
            && let Some(at) = self.topics.get(event.topic()).copied()
        {
            self.lose_at(at);
        }
        let cost = cost_of(&event);
        while self.is_full(cost) {
            match self.keep.keeping {
                Keeping::DropOldest | Keeping::Latest => self.lose_first(),
                Keeping::DropNewest => return self.lose(1),
                Keeping::Cut => return self.cut(),
            }
        }
        if self.keep.keeping == Keeping::Latest {
            self.topics.insert(event.topic().into(), place);
        }
        self.bytes += cost;
        self.waiting.insert(place, Entry { event, lost: std::mem::take(&mut self.lost) });
    }

    /// Events were lost behind the last one.
    pub(super) fn lose(&mut self, events: u64) {
        self.lost = self.lost.saturating_add(events);
    }

    /// The next thing to tell.
    pub(super) fn take(&mut self) -> Option<Taken> {
        let Some(mut first) = self.waiting.first_entry() else {
            return match std::mem::take(&mut self.lost) {
                0 => self.is_cut.then_some(Taken::Cut),
                lost => Some(Taken::Gap(lost)),
            };
        };
        let lost = std::mem::take(&mut first.get_mut().lost);
        if lost > 0 {
            return Some(Taken::Gap(lost));
        }
        let place = *first.key();
        let event = first.remove().event;
        self.forget(&event);
        Some(Taken::Event(place, event))
    }

    /// Whether there is nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.lost == 0 && !self.is_cut
    }

    fn is_full(&self, more: usize) -> bool {
        let is_too_long = self.bytes + more > MOST_BYTES && !self.waiting.is_empty();
        is_too_long || self.waiting.len() >= self.keep.events.max(1)
    }

    fn cut(&mut self) {
        self.is_cut = true;
    }

    fn lose_first(&mut self) {
        if let Some(first) = self.waiting.keys().next().copied() {
            self.lose_at(first);
        }
    }

    /// Drops an event that waits, and counts it before the one behind it.
    fn lose_at(&mut self, at: u64) {
        let Some(Entry { event, lost }) = self.waiting.remove(&at) else { return };
        self.forget(&event);
        let behind = self.waiting.range_mut(at..).next().map_or(&mut self.lost, |(_, entry)| &mut entry.lost);
        *behind = behind.saturating_add(lost).saturating_add(1);
    }

    fn forget(&mut self, event: &Event) {
        self.bytes -= cost_of(event);
        if self.keep.keeping == Keeping::Latest {
            self.topics.remove(event.topic());
        }
    }
}

/// Bytes that an event takes, roughly.
fn cost_of(event: &Event) -> usize {
    std::mem::size_of::<Entry>() + event.routing.raw().len() + event.body.len()
}

/// Bytes of events that wait for the program at most, in each subscription. One event is always kept.
const MOST_BYTES: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ipc_protocol::{Encoding, Routing};

    use super::*;

    fn event(topic: &str, body: &str) -> Event {
        Event {
            id: 1,
            one_way: false,
            retained: false,
            encoding: Encoding::BYTES,
            publisher: Bytes::new(),
            routing: Routing::on(topic).build(),
            body: body.to_owned().into_bytes().into(),
        }
    }

    /// What is taken, events by their bodies.
    fn told(feed: &mut Feed) -> Vec<String> {
        let tell = |taken| match taken {
            Taken::Event(_, event) => String::from_utf8_lossy(&event.body).into_owned(),
            Taken::Gap(lost) => format!("gap {lost}"),
            Taken::Cut => "cut".to_owned(),
        };
        let told = std::iter::from_fn(|| feed.take().filter(|taken| *taken != Taken::Cut)).map(tell).collect();
        assert_eq!(feed.bytes, 0);
        told
    }

    fn fed(keeping: Keeping, events: &[(&str, &str)]) -> Feed {
        let mut feed = Feed::new(Keep { keeping, events: 2 });
        events.iter().zip(0..).for_each(|((topic, body), place)| feed.push(place, event(topic, body)));
        feed
    }

    #[test]
    fn the_oldest_is_lost_and_counted_before_the_next() {
        let mut feed = fed(Keeping::DropOldest, &[("t", "1"), ("t", "2"), ("t", "3"), ("t", "4")]);
        assert_eq!(told(&mut feed), ["gap 2", "3", "4"]);
        assert!(feed.is_empty());
    }

    #[test]
    fn the_newest_is_lost_and_counted_behind_the_last() {
        let mut feed = fed(Keeping::DropNewest, &[("t", "1"), ("t", "2"), ("t", "3"), ("t", "4")]);
        assert_eq!(told(&mut feed), ["1", "2", "gap 2"]);
    }

    #[test]
    fn of_each_topic_the_latest_is_kept_in_the_order_of_its_publisher() {
        let mut feed = fed(Keeping::Latest, &[("a", "1"), ("b", "2"), ("a", "3"), ("a", "4")]);
        assert_eq!(told(&mut feed), ["gap 1", "2", "gap 1", "4"]);
        feed.push(4, event("a", "5"));
        assert_eq!(told(&mut feed), ["5"]);
    }

    #[test]
    fn what_the_broker_has_lost_is_told_in_its_place() {
        let mut feed = fed(Keeping::DropOldest, &[("t", "1")]);
        feed.lose(5);
        feed.push(1, event("t", "2"));
        feed.push(2, event("t", "3"));
        assert_eq!(told(&mut feed), ["gap 6", "2", "3"]);
        feed.lose(7);
        assert_eq!(told(&mut feed), ["gap 7"]);
    }

    #[test]
    fn a_cut_comes_behind_what_waits() {
        let mut feed = fed(Keeping::Cut, &[("t", "1"), ("t", "2"), ("t", "3"), ("t", "4")]);
        assert_eq!(told(&mut feed), ["1", "2"]);
        assert_eq!(feed.take(), Some(Taken::Cut));
    }

    #[test]
    fn long_events_are_bounded_by_their_bytes_and_one_is_always_kept() {
        let long = "x".repeat(MOST_BYTES);
        let mut feed = Feed::new(Keep { keeping: Keeping::DropOldest, events: 100 });
        feed.push(0, event("t", &long));
        feed.push(1, event("t", "2"));
        feed.push(2, event("t", "3"));
        assert_eq!(told(&mut feed), ["gap 1", "2", "3"]);
    }
}
