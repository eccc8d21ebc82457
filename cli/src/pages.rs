//! Long answers of the broker's own service, which come page by page.

use ipc_client::{Encoding, PeerNumber, ServiceName, TopicName, control};
use serde::{Serialize, Serializer, de::DeserializeOwned};

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
    type Row = KeptRow;

    fn split(self) -> (Vec<KeptRow>, Option<TopicName>) {
        (self.topics.into_iter().map(KeptRow::from).collect(), self.next)
    }
}

impl Page for control::PeerPage {
    type Place = PeerNumber;
    type Row = control::PeerRow;

    fn split(self) -> (Vec<control::PeerRow>, Option<PeerNumber>) {
        (self.peers, self.next)
    }
}

/// A topic in JSON, in the words of `subscribe -o json`.
#[derive(Debug, Serialize)]
pub(crate) struct KeptRow {
    pub(crate) topic: TopicName,
    pub(crate) uid: u32,
    #[serde(serialize_with = "in_words")]
    pub(crate) encoding: Encoding,
    pub(crate) bytes: u64,
    pub(crate) age_ms: u64,
}

impl From<control::TopicRow> for KeptRow {
    fn from(row: control::TopicRow) -> Self {
        let control::TopicRow { topic, uid, encoding, bytes, age_ms } = row;
        Self { topic, uid, encoding, bytes, age_ms }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn in_words<S: Serializer>(encoding: &Encoding, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(encoding)
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
