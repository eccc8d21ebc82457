//! `ipcctl topics`: the topics whose last event is kept.

use ipc_client::{Pattern, control};

use crate::{
    exit::Exit,
    globals::Globals,
    pages::{self, KeptRow},
    problem::Result,
    table::Cell,
};

/// List the topics whose last event the broker keeps, sorted, with its size, encoding, publisher and age.
///
/// These are the events that 'publish --retain' published, and 'subscribe --last' delivers. Other topics leave no trace.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ipcctl topics\n  ipcctl topics home. -o json   # all topics below home")]
pub(crate) struct Args {
    /// Only topics that match: 'a.*' (one more label), 'a.**' (all below), 'a.' (the same, and needs no quotes)
    pattern: Option<Pattern>,
}

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let question = |after| control::Topics { pattern: self.pattern.clone(), after };
        pages::print::<control::TopicPage, _>(globals, "topics", question, rows)?;
        Ok(Exit::SUCCESS)
    }
}

fn rows(topics: &[KeptRow]) -> Vec<Vec<Cell>> {
    let header = vec![
        Cell::text("topic"),
        Cell::number("bytes"),
        Cell::text("encoding"),
        Cell::number("uid"),
        Cell::number("age_s"),
    ];
    std::iter::once(header).chain(topics.iter().map(row)).collect()
}

fn row(topic: &KeptRow) -> Vec<Cell> {
    vec![
        Cell::text(&topic.topic),
        Cell::number(topic.bytes),
        Cell::text(topic.encoding),
        Cell::number(topic.uid),
        Cell::number(topic.age_ms / 1000),
    ]
}

#[cfg(test)]
mod tests {
    use ipc_client::{Encoding, TopicName};

    use super::*;
    use crate::table;

    fn topic() -> KeptRow {
        let topic = TopicName::parse("home.kitchen").unwrap();
        KeptRow { topic, uid: 1000, encoding: Encoding::JSON, bytes: 12, age_ms: 61_999 }
    }

    #[test]
    fn an_encoding_is_a_word_in_json() {
        assert_eq!(
            serde_json::to_string(&topic()).unwrap(),
            r#"{"topic":"home.kitchen","uid":1000,"encoding":"json","bytes":12,"age_ms":61999}"#
        );
    }

    #[test]
    fn a_topic_is_a_line() {
        let text = table::render(&rows(&[topic()]));
        assert_eq!(text, "topic         bytes  encoding   uid  age_s\nhome.kitchen     12  json      1000     61\n");
    }
}
