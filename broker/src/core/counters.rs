//! What has happened since the broker started, as numbers that only grow. `ipcctl stats` prints them.

use ipc_protocol::{ERROR_TABLE, ErrorCode, control::StatRow};
use serde::{Deserialize, Serialize};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident $unit:literal,)*) => {
        /// Counters of the broker.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub(crate) struct Counters {
            $($(#[doc = $doc])+ pub(crate) $name: u64,)*
            /// Errors sent, by row of the error table.
            errors: Vec<u64>,
        }

        impl Counters {
            fn plain_rows(&self) -> impl Iterator<Item = (&'static str, u64, &'static str)> {
                [$((stringify!($name), self.$name, $unit),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Connections accepted.
    connections_accepted "connections",
    /// Connections refused because a limit was reached.
    connections_refused "connections",
    /// Connections of users who connect too often, closed without a word.
    connections_ignored "connections",
    /// Connections cut because their peer broke the protocol or didn't read.
    connections_cut "connections",
    /// Calls received, however they ended.
    calls "calls",
    /// Calls delivered to a service.
    calls_delivered "calls",
    /// Calls that waited in a queue.
    calls_queued "calls",
    /// Replies passed on.
    replies "replies",
    /// Replies that came after their call had ended.
    replies_late "replies",
    /// Replies to calls that their sender had never received.
    replies_stray "replies",
    /// Events published.
    events "events",
    /// Events sent to a subscription, each once for each.
    events_delivered "events",
    /// Events that a subscription lost, because its peer didn't keep up.
    events_lost "events",
    /// Items of streams passed on.
    items "items",
    /// Items, ends and credits dropped because their call had ended.
    stream_frames_late "frames",
    /// Datagrams received.
    datagrams "datagrams",
    /// Datagrams dropped: truncated, or not a frame that a datagram may carry.
    datagrams_malformed "datagrams",
    /// Datagrams whose call was refused: no such service, denied, busy.
    datagrams_refused "datagrams",
    /// Answers to datagrams that the sender's socket didn't take.
    datagram_answers_dropped "datagrams",
}

impl Counters {
    /// Counts an error that is sent.
    pub(crate) fn error(&mut self, code: ErrorCode) {
        self.errors.resize(ERROR_TABLE.len(), 0);
        let row = ERROR_TABLE.iter().position(|row| row.code == code);
        if let Some(count) = row.and_then(|row| self.errors.get_mut(row)) {
            *count += 1;
        }
    }

    /// One row per counter, without the errors that this broker never sends.
    pub(crate) fn rows(&self) -> Vec<StatRow> {
        let row = |name: String, value, unit: &str| StatRow { name, value, unit: unit.to_owned() };
        let plain = self.plain_rows().map(|(name, value, unit)| row(name.to_owned(), value, unit));
        let count = |at: usize| self.errors.get(at).copied().unwrap_or(0);
        let sent = ERROR_TABLE.iter().enumerate().filter(|(_, error)| !NEVER_SENT.contains(&error.code));
        let errors = sent.map(|(at, error)| row(format!("errors_{}", error.name), count(at), "errors"));
        plain.chain(errors).collect()
    }
}

/// Errors that don't end a call: the tools detect them before there is one.
const NEVER_SENT: [ErrorCode; 4] = [
    ErrorCode::USAGE,
    ErrorCode::NO_INPUT,
    ErrorCode::CONFIG,
    ErrorCode::ACTIVATION_FAILED, // nothing is activated yet
];

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(counters: &Counters) -> Vec<(String, u64)> {
        let rows = counters.rows().into_iter().filter(|row| row.name.starts_with("errors_"));
        rows.map(|row| (row.name, row.value)).collect()
    }

    #[test]
    fn an_error_counts_in_its_own_row() {
        let mut counters = Counters::default();
        counters.error(ErrorCode::BUSY);
        counters.error(ErrorCode::BUSY);
        let counted: Vec<_> = errors(&counters).into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("errors_busy".to_owned(), 2)]);
    }

    #[test]
    fn only_errors_that_a_call_can_end_with_have_a_row() {
        let names: Vec<_> = errors(&Counters::default()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), ERROR_TABLE.len() - NEVER_SENT.len());
        assert!(!names.iter().any(|name| name == "errors_usage" || name == "errors_config"), "{names:?}");
    }
}
