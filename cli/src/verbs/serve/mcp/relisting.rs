//! A server's list of tools, read again because it says that the list has changed.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::{
    greeting::PATIENCE,
    listing::Listing,
    news::{self, Letters, News},
    shared::Shared,
};
use crate::mcp::{message, version::Era};

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
    news: Letters,
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
        let free = self.under_way.as_ref().map(|round| round.began + PATIENCE);
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
        match round.news.take() {
            Some(News::Answer(Ok(page))) => {
                let Some(next) = round.listing.take(page) else { return Some(round.listing.tools()) };
                self.under_way = self.page(shared, round.listing, next, round.began);
            }
            Some(News::Progress(_)) | None => self.under_way = Some(round),
            Some(News::Answer(Err(_)) | News::Gone(_) | News::Cancelled) => {}
        }
        None
    }

    fn page(&self, shared: &Shared, listing: Listing, page: Map<String, Value>, began: Instant) -> Option<Round> {
        let (teller, news) = news::post();
        let params = self.era.params(page, Map::new());
        let number = shared.ask(teller, |number| message::request(number, "tools/list", params))?;
        Some(Round { listing, number, news, began })
    }
}

/// A server that says without end that its list has changed is asked this seldom.
const PAUSE: Duration = Duration::from_millis(500);
