//! Answers that are still due.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The ids of requests that were sent and not answered.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// With how many requests each has: several may have the same.
    ids: HashMap<String, usize>,
    /// What the broker has sent after its last line.
    begun: Vec<u8>,
}

/// What tells a request from the rest.
#[derive(Deserialize)]
struct Envelope {
    jsonrpc: String,
    #[serde(default, deserialize_with = "even_null")]
    id: Option<Value>,
    method: Option<String>,
}

/// `null` is an id; none is none.
fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Due {
    /// A message was sent.
    pub(super) fn sent(&mut self, message: &[u8]) {
        for Envelope { jsonrpc, id, method } in envelopes(message) {
            if let (Some(id), Some(_), "2.0") = (id.filter(is_id), method, jsonrpc.as_str()) {
                *self.ids.entry(id.to_string()).or_default() += 1;
            }
        }
    }

    /// The broker has sent this.
    pub(super) fn received(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.begun);
                envelopes(&line).into_iter().for_each(|answer| self.answered(answer));
            }
        }
    }

    /// How many answers are due.
    pub(super) fn count(&self) -> usize {
        self.ids.values().sum()
    }

    fn answered(&mut self, Envelope { id, method, .. }: Envelope) {
        let Some(id) = id.filter(|_| method.is_none()).map(|id| id.to_string()) else { return };
        if let Some(count) = self.ids.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.ids.remove(&id);
            }
        }
    }
}

/// The messages of a batch, or the one. What isn't one is left out: the broker answers it under no id.
fn envelopes(text: &[u8]) -> Vec<Envelope> {
    if !text.trim_ascii_start().starts_with(b"[") {
        return serde_json::from_slice(text).into_iter().collect();
    }
    let elements: Vec<Value> = serde_json::from_slice(text).unwrap_or_default();
    elements.into_iter().filter_map(|element| serde_json::from_value(element).ok()).collect()
}

fn is_id(id: &Value) -> bool {
    matches!(id, Value::Null | Value::Number(_) | Value::String(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_until_they_are_answered() {
        let mut due = Due::default();
        due.sent(br#"{"jsonrpc":"2.0","id":1,"method":"a"}"#);
        due.sent(br#"[{"jsonrpc":"2.0","id":"1","method":"a"},7,{"jsonrpc":"2.0","id":null,"method":"a"}]"#);
        assert_eq!(due.count(), 3);
        due.received(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"res");
        assert_eq!(due.count(), 3);
        due.received(b"ult\":2}\n[{\"jsonrpc\":\"2.0\",\"id\":\"1\",\"result\":2}]\n");
        assert_eq!(due.count(), 1);
        due.received(
            b"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{}}\n{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{}}\n",
        );
        assert_eq!(due.count(), 0);
    }

    #[test]
    fn notifications_answers_and_calls_of_others_change_nothing() {
        let mut due = Due::default();
        due.sent(br#"{"jsonrpc":"2.0","method":"a"}"#);
        due.sent(br#"{"jsonrpc":"2.0","id":1,"result":1}"#);
        due.sent(br#"{"jsonrpc":"1.0","id":1,"method":"a"}"#);
        assert_eq!(due.count(), 0);
        due.sent(br#"{"jsonrpc":"2.0","id":1,"method":"a"}"#);
        due.received(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"mine\"}\n");
        assert_eq!(due.count(), 1);
    }
}
