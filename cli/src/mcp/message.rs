//! One line of the protocol: JSON-RPC 2.0, read from whatever a peer writes. Depends on nothing but serde and serde_json, so that a fuzz
//! target can have it.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, json};

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    /// Wants an answer.
    Request {
        /// A text or an integer of 64 bits, which the answer carries as it came: other numbers would come back as different texts.
        id: Value,
        /// What is asked for.
        method: String,
        /// Its parameters, by name.
        params: Map<String, Value>,
    },
    /// Wants none.
    Notification {
        /// What has happened.
        method: String,
        /// Its parameters, by name.
        params: Map<String, Value>,
    },
    /// An answer to a request of ours.
    Answer {
        /// The id of the request.
        id: Value,
        /// The result, or the fault.
        outcome: Result<Value, Fault>,
    },
}

/// An error of the protocol.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    /// Its number.
    pub(crate) code: i64,
    /// One sentence.
    pub(crate) message: String,
    /// More, for programs.
    pub(crate) data: Option<Value>,
}

/// A line, or a part of it, that is no message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refused {
    /// The id, if there is a usable one; else null.
    pub(crate) id: Value,
    /// What is wrong with it.
    pub(crate) fault: Fault,
}

/// The line isn't JSON.
pub(crate) const UNREADABLE: i64 = -32700;
/// The value is no message.
pub(crate) const NO_MESSAGE: i64 = -32600;
/// There is no such method.
pub(crate) const NO_METHOD: i64 = -32601;
/// The parameters are wrong.
pub(crate) const WRONG_PARAMS: i64 = -32602;
/// Something failed here.
pub(crate) const FAILED: i64 = -32603;
/// The version of the protocol isn't spoken.
pub(crate) const OTHER_VERSION: i64 = -32022;

/// Messages of one line; a batch has several. A line of blanks has none.
pub(crate) fn read(line: &[u8]) -> Vec<Result<Message, Refused>> {
    if line.trim_ascii().is_empty() {
        return Vec::new();
    }
    match serde_json::from_slice::<Part>(line) {
        Ok(Part::Several(parts)) if (1..=MOST_IN_A_BATCH).contains(&parts.len()) => {
            parts.into_iter().map(message).collect()
        }
        Ok(Part::Several(parts)) => {
            let text = format!("a batch has 1 to {MOST_IN_A_BATCH} messages, not {}", parts.len());
            vec![Err(refused(Value::Null, NO_MESSAGE, text))]
        }
        Ok(part) => vec![message(part)],
        Err(error) => vec![Err(refused(Value::Null, UNREADABLE, format!("the line isn't JSON: {error}")))],
    }
}

fn message(part: Part) -> Result<Message, Refused> {
    let mut members = match part {
        Part::Object(members) => members,
        Part::Ambiguous => return Err(refused(Value::Null, NO_MESSAGE, "a member is there twice".to_owned())),
        Part::Several(_) | Part::Other => {
            return Err(refused(Value::Null, NO_MESSAGE, "a message is an object".to_owned()));
        }
    };
    let id = members.remove("id");
    let known = id.clone().filter(is_id).unwrap_or_default();
    if members.get("jsonrpc") != Some(&json!("2.0")) {
        return Err(refused(known, NO_MESSAGE, "a message says \"jsonrpc\":\"2.0\"".to_owned()));
    }
    let Some(method) = members.remove("method") else { return answer(known, members) };
    let Value::String(method) = method else {
        return Err(refused(known, NO_MESSAGE, "the method is a text".to_owned()));
    };
    let params = match members.remove("params") {
        None => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Err(refused(known, WRONG_PARAMS, "the parameters are an object".to_owned())),
    };
    match id {
        None => Ok(Message::Notification { method, params }),
        Some(id) if is_id(&id) => Ok(Message::Request { id, method, params }),
        Some(_) => Err(refused(Value::Null, NO_MESSAGE, "the id is a text or an integer of 64 bits".to_owned())),
    }
}

fn answer(id: Value, mut members: Map<String, Value>) -> Result<Message, Refused> {
    let outcome = match (members.remove("result"), members.remove("error")) {
        (Some(result), None) => Ok(result),
        (None, Some(error)) => Err(Fault {
            code: error.get("code").and_then(Value::as_i64).unwrap_or(FAILED),
            message: error.get("message").and_then(Value::as_str).unwrap_or_default().to_owned(),
            data: error.get("data").cloned(),
        }),
        _ => return Err(refused(id, NO_MESSAGE, "a message has a method, a result or an error".to_owned())),
    };
    Ok(Message::Answer { id, outcome })
}

/// Whether a value can be an id: it comes back as it came.
#[must_use]
pub(crate) fn is_id(id: &Value) -> bool {
    id.is_string() || id.is_i64() || id.is_u64()
}

fn refused(id: Value, code: i64, message: String) -> Refused {
    Refused { id, fault: Fault::new(code, message) }
}

impl Fault {
    /// A fault without data.
    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }
}

/// A request.
#[must_use]
pub(crate) fn request(id: u64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// A notification.
#[must_use]
pub(crate) fn notification(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

/// The answer to a request.
#[must_use]
pub(crate) fn reply(id: &Value, outcome: Result<Value, Fault>) -> Value {
    match outcome {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(Fault { code, message, data: None }) => {
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
        }
        Err(Fault { code, message, data: Some(data) }) => {
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message, "data": data } })
        }
    }
}

/// A message as one line, with its line break. Some readers end a line at U+2028 and U+2029 as well, which can stand in texts alone.
#[must_use]
pub(crate) fn line(message: &Value) -> String {
    let mut text = message.to_string();
    if text.contains(['\u{2028}', '\u{2029}']) {
        text = text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
    }
    text.push('\n');
    text
}

/// A line, or a part of it. serde_json's own value takes the last of members with one name, where another reader takes the first.
enum Part {
    Object(Map<String, Value>),
    /// An object with several members of one name.
    Ambiguous,
    Several(Vec<Part>),
    /// No object.
    Other,
}

struct PartVisitor;

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartVisitor)
    }
}

impl<'de> Visitor<'de> for PartVisitor {
    type Value = Part;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Part, A::Error> {
        let (mut members, mut is_ambiguous) = (Map::new(), false);
        while let Some((name, value)) = map.next_entry()? {
            is_ambiguous |= members.insert(name, value).is_some();
        }
        Ok(if is_ambiguous { Part::Ambiguous } else { Part::Object(members) })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Part, A::Error> {
        let mut several = Vec::new();
        while let Some(part) = parts.next_element()? {
            several.push(part);
        }
        Ok(Part::Several(several))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Part, E> {
        Ok(Part::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Part, E> {
        Ok(Part::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Part, E> {
        Ok(Part::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Part, E> {
        Ok(Part::Other)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Part, E> {
        Ok(Part::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Part, E> {
        Ok(Part::Other)
    }
}

/// A batch costs an answer for each of its messages.
const MOST_IN_A_BATCH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Result<Message, Refused> {
        let mut all = read(line.as_bytes());
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    fn code(line: &str) -> (Value, i64) {
        let refused = one(line).unwrap_err();
        (refused.id, refused.fault.code)
    }

    #[test]
    fn requests_notifications_and_answers_are_told_apart() {
        let request = one(r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#).unwrap();
        assert_eq!(request, Message::Request { id: json!("a"), method: "ping".into(), params: Map::new() });
        assert!(matches!(one(r#"{"jsonrpc":"2.0","method":"x","params":{}}"#), Ok(Message::Notification { .. })));
        assert!(matches!(one(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), Ok(Message::Answer { outcome: Ok(_), .. })));
        let error = one(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}"#).unwrap();
        assert_eq!(error, Message::Answer { id: json!(1), outcome: Err(Fault::new(-1, "no")) });
    }

    #[test]
    fn what_is_no_message_is_answered_with_the_id_that_it_has() {
        assert_eq!(code("{"), (Value::Null, UNREADABLE));
        assert_eq!(code("\u{0}"), (Value::Null, UNREADABLE));
        assert_eq!(code("7"), (Value::Null, NO_MESSAGE));
        assert_eq!(code("[]"), (Value::Null, NO_MESSAGE));
        assert_eq!(code(r#"{"id":3,"method":"x"}"#), (json!(3), NO_MESSAGE));
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":3,"method":7}"#), (json!(3), NO_MESSAGE));
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":3,"method":"x","params":[1]}"#), (json!(3), WRONG_PARAMS));
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#), (Value::Null, NO_MESSAGE));
        assert_eq!(code(&"[".repeat(1_000_000)), (Value::Null, UNREADABLE));
        assert!(read(b" \r\n").is_empty());
    }

    #[test]
    fn an_id_comes_back_as_it_came_or_is_refused() {
        let id = |id: &str| one(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#));
        for kept in ["0", "-9223372036854775808", "18446744073709551615", r#""\u2028""#] {
            let Ok(Message::Request { id, .. }) = id(kept) else { panic!("{kept} is no id") };
            assert!(line(&reply(&id, Ok(Value::Null))).contains(&format!(r#""id":{kept},"#)), "{kept}");
        }
        for changed in ["1180591620717411303424", "-0", "1.0", "1.5", "1e3", "true", "{}", "null"] {
            let refused = id(changed).unwrap_err();
            assert_eq!((refused.id, refused.fault.code), (Value::Null, NO_MESSAGE), "{changed}");
        }
    }

    #[test]
    fn a_member_that_is_there_twice_is_refused() {
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#), (Value::Null, NO_MESSAGE));
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#), (Value::Null, NO_MESSAGE));
        let batch = read(br#"[{"jsonrpc":"2.0","id":1,"method":"x"},{"jsonrpc":"2.0","jsonrpc":"2.0","method":"x"}]"#);
        assert!(matches!(&batch[..], [Ok(_), Err(_)]), "{batch:?}");
        ["true", "-1", "1.5", "\"x\"", "null", "[[]]"].iter().for_each(|other| assert_eq!(code(other).1, NO_MESSAGE));
    }

    #[test]
    fn a_batch_is_several_messages() {
        let batch = read(br#"[{"jsonrpc":"2.0","id":1,"method":"ping"},7]"#);
        assert!(matches!(&batch[..], [Ok(Message::Request { .. }), Err(_)]), "{batch:?}");
    }

    #[test]
    fn a_line_has_no_line_break_inside_whatever_a_text_holds() {
        let written = line(&notification("x", json!({ "text": "a\nb\u{2028}c\u{2029}" })));
        assert_eq!(written.trim_end().lines().count(), 1);
        assert!(!written.contains(['\u{2028}', '\u{2029}']));
        assert!(matches!(one(&written), Ok(Message::Notification { .. })));
    }
}
