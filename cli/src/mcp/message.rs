//! One line of the protocol: JSON-RPC 2.0, read from whatever a peer writes. Depends on nothing but serde_json, so that a fuzz target can
//! have it.

use serde_json::{Map, Value, json};

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    /// Wants an answer.
    Request {
        /// A text or a number, which the answer carries as it came.
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
    match serde_json::from_slice::<Value>(line) {
        Ok(Value::Array(parts)) if (1..=MOST_IN_A_BATCH).contains(&parts.len()) => {
            parts.into_iter().map(message).collect()
        }
        Ok(Value::Array(parts)) => {
            let text = format!("a batch has 1 to {MOST_IN_A_BATCH} messages, not {}", parts.len());
            vec![Err(refused(Value::Null, NO_MESSAGE, text))]
        }
        Ok(value) => vec![message(value)],
        Err(error) => vec![Err(refused(Value::Null, UNREADABLE, format!("the line isn't JSON: {error}")))],
    }
}

fn message(value: Value) -> Result<Message, Refused> {
    let Value::Object(mut members) = value else {
        return Err(refused(Value::Null, NO_MESSAGE, "a message is an object".to_owned()));
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
        Some(_) => Err(refused(Value::Null, NO_MESSAGE, "the id is a text or a number".to_owned())),
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

fn is_id(id: &Value) -> bool {
    matches!(id, Value::String(_) | Value::Number(_))
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
