//! A server's list of tools, page by page: at its start, and again when it says that the list has changed.

use std::{
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

use super::{
    greeting,
    keeper::{News, Shared},
};
use crate::mcp::{
    message::{self, Message},
    version::Era,
};

/// A list, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Listing {
    tools: Vec<Value>,
    pages: usize,
}

impl Listing {
    /// Takes a page. Returns the parameters that ask for the next one, if there is one.
    pub(super) fn take(&mut self, mut page: Value) -> Option<Map<String, Value>> {
        self.pages += 1;
        if let Some(Value::Array(listed)) = page.get_mut("tools").map(Value::take) {
            self.tools.extend(listed);
        }
        let cursor = page.get_mut("nextCursor").map(Value::take).filter(Value::is_string)?;
        let has_room = self.pages < MOST_PAGES && self.tools.len() < MOST_TOOLS;
        has_room.then(|| Map::from_iter([("cursor".to_owned(), cursor)]))
    }

    /// The tools that were read.
    pub(super) fn tools(mut self) -> Vec<Value> {
        self.tools.truncate(MOST_TOOLS);
        self.tools
    }
}

/// Whether a server says that its list has changed.
pub(super) fn is_change(message: &Message) -> bool {
    matches!(message, Message::Notification { method, .. } if method == "notifications/tools/list_changed")
}

/// The wish to be told of changes, which has to be asked for in the stateless era.
pub(super) fn subscription(number: u64) -> Value {
    let wanted = Map::from_iter([("notifications".to_owned(), json!({ "toolsListChanged": true }))]);
    message::request(number, "subscriptions/listen", greeting::params(Era::Stateless, wanted, Map::new()))
}

/// A list that is read again while the server answers calls.
#[derive(Debug)]
pub(super) struct Relisting {
    era: Era,
    /// When to begin, if there is news.
    due: Option<Instant>,
    /// When to begin at the earliest.
    earliest: Instant,
    under_way: Option<Round>,
}

/// A reading that has begun.
#[derive(Debug)]
struct Round {
    listing: Listing,
    number: u64,
    news: Receiver<News>,
    began: Instant,
}

impl Relisting {
    pub(super) fn new(era: Era) -> Self {
        Self { era, due: None, earliest: Instant::now(), under_way: None }
    }

    /// The list has changed.
    pub(super) fn ask(&mut self) {
        self.due.get_or_insert(self.earliest);
    }

    /// When there is something to do although nothing was said.
    pub(super) fn due(&self) -> Option<Instant> {
        let free = self.under_way.as_ref().map(|round| round.began + greeting::PATIENCE);
        self.due.map(|due| free.map_or(due, |free| due.max(free)))
    }

    /// Does the next step. Returns the tools once all are known. A list that the server refuses to show is as it was.
    pub(super) fn go_on(&mut self, shared: &Shared) -> Option<Vec<Value>> {
        let now = Instant::now();
        if self.due().is_some_and(|due| due <= now) {
            if let Some(given_up) = self.under_way.take() {
                shared.cancel(given_up.number, "the list has changed again");
            }
            (self.due, self.earliest) = (None, now + PAUSE);
            self.under_way = self.page(shared, Listing::default(), Map::new(), now);
            return None;
        }
        let mut round = self.under_way.take()?;
        match round.news.try_recv() {
            Ok(News::Answer(Ok(page))) => {
                let Some(next) = round.listing.take(page) else { return Some(round.listing.tools()) };
                self.under_way = self.page(shared, round.listing, next, round.began);
            }
            Ok(News::Progress(_)) | Err(mpsc::TryRecvError::Empty) => self.under_way = Some(round),
            Ok(News::Answer(Err(_)) | News::Gone(_) | News::Cancelled) | Err(mpsc::TryRecvError::Disconnected) => {}
        }
        None
    }

    fn page(&self, shared: &Shared, listing: Listing, page: Map<String, Value>, began: Instant) -> Option<Round> {
        let (teller, news) = mpsc::channel();
        let params = greeting::params(self.era, page, Map::new());
        let number = shared.ask(teller, |number| message::request(number, "tools/list", params))?;
        Some(Round { listing, number, news, began })
    }
}

/// A server that says without end that its list has changed is asked this seldom.
const PAUSE: Duration = Duration::from_millis(500);
/// Pages of a list, which a server may go on with for ever.
const MOST_PAGES: usize = 50;
const MOST_TOOLS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_pages() {
        let mut listing = Listing::default();
        let next = listing.take(json!({ "tools": [1, 2], "nextCursor": "2" }));
        assert_eq!(next, json!({ "cursor": "2" }).as_object().cloned());
        assert_eq!(listing.take(json!({ "tools": [3] })), None);
        assert_eq!(listing.tools(), [1, 2, 3]);
    }

    #[test]
    fn a_list_without_end_ends() {
        let mut listing = Listing::default();
        let pages = std::iter::repeat_with(|| listing.take(json!({ "tools": [1], "nextCursor": "2" })));
        assert_eq!(pages.take_while(Option::is_some).count(), MOST_PAGES - 1);
        let mut wide = Listing::default();
        assert_eq!(wide.take(json!({ "tools": vec![1; 2_000], "nextCursor": "2" })), None);
        assert_eq!(wide.tools().len(), MOST_TOOLS);
    }
}
