//! Long answers of the broker's own service, which come page by page.

use ipc_client::{PeerNumber, ServiceName, TopicName, control};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    format::Format,
    globals::Globals,
    link::Link,
    out,
    problem::Result,
    table::{self, Cell},
};

/// One page of an answer.
pub(crate) trait Page: DeserializeOwned {
    /// Where a page begins: behind this.
    type Place: Clone + Ord;
    type Row: Serialize;

    /// The rows, and where the next page begins.
    fn split(self) -> (Vec<Self::Row>, Option<Self::Place>);
}

impl Page for control::Names {
    type Place = ServiceName;
    type Row = ServiceName;

    fn split(self) -> (Vec<ServiceName>, Option<ServiceName>) {
        (self.names, self.next)
    }
}

impl Page for control::TopicPage {
    type Place = TopicName;
    type Row = control::TopicRow;

    fn split(self) -> (Vec<control::TopicRow>, Option<TopicName>) {
        (self.topics, self.next)
    }
}

impl Page for control::PeerPage {
    type Place = PeerNumber;
    type Row = control::PeerRow;

    fn split(self) -> (Vec<control::PeerRow>, Option<PeerNumber>) {
        (self.peers, self.next)
    }
}

/// Asks the broker's own service for page after page, and hands the rows of each on. `take` says whether it wants more.
pub(crate) fn each<P: Page, Q: Serialize>(
    link: &Link<'_>,
    operation: &str,
    question: impl Fn(Option<P::Place>) -> Q,
    mut take: impl FnMut(Vec<P::Row>) -> Result<bool>,
) -> Result<()> {
    let mut after = None;
    loop {
        let page: P = link.ask(operation, &question(after.clone()))?;
        let (rows, next) = page.split();
        if !take(rows)? || next.is_none() {
            return Ok(());
        }
        after = link.further(operation, after, next)?;
    }
}

/// Prints all rows: as a table once all are there, for its columns are as wide as the widest of them, or as documents at once.
pub(crate) fn print<P: Page, Q: Serialize>(
    globals: &Globals,
    operation: &str,
    question: impl Fn(Option<P::Place>) -> Q,
    table: impl Fn(&[P::Row]) -> Vec<Vec<Cell>>,
) -> Result<()> {
    let link = globals.connect(operation)?;
    let mut all = Vec::new();
    each::<P, Q>(&link, operation, question, |mut rows| {
        match globals.format {
            Format::Text => all.append(&mut rows),
            Format::Json => out::ndjson(&rows)?,
        }
        Ok(true)
    })?;
    match globals.format {
        Format::Text => out::print(&table::render(&table(&all))),
        Format::Json => Ok(()),
    }
}
