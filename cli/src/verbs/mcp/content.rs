//! Replies and errors of calls as results of tools.

use ipc_client::{Encoding, Error, Response, Retry};
use serde_json::{Value, json};

use super::{schema::Structure, tools::Tool};
use crate::json;

/// The result of a call that was answered.
pub(super) fn of_reply(tool: &Tool, reply: &Response) -> Value {
    let value = match tool.structure {
        Structure::None => return plain(tool, reply),
        Structure::Text => text_value(reply),
        Structure::Whole | Structure::Result => serde_json::from_slice(&reply.body).ok(),
    };
    let structured = match (tool.structure, value) {
        (Structure::Whole, Some(value @ Value::Object(_))) => value,
        (Structure::Result | Structure::Text, Some(value)) => json!({ "result": value }),
        _ => return failed("protocol", "the reply isn't what the service says of itself", Retry::Unknown),
    };
    let text = shown(&structured.to_string());
    json!({ "content": [{ "type": "text", "text": text }], "structuredContent": structured, "isError": false })
}

/// The result of a call without structure: text where it is one.
fn plain(tool: &Tool, reply: &Response) -> Value {
    let content = match std::str::from_utf8(&reply.body) {
        Ok(text) => json!({ "type": "text", "text": shown(text) }),
        Err(_) if reply.body.len() > LONGEST_BLOB => {
            json!({ "type": "text", "text": format!("[{} bytes that are no text, too many to be shown]", reply.body.len()) })
        }
        Err(_) => json!({
            "type": "resource",
            "resource": {
                "uri": format!("ipc:{}", tool.title),
                "mimeType": "application/octet-stream",
                "blob": json::base64(&reply.body),
            },
        }),
    };
    json!({ "content": [content], "isError": false })
}

/// A result of one text.
pub(super) fn text(text: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": shown(text) }], "isError": false })
}

/// The result of a call that ended with an error.
pub(super) fn of_error(error: &Error) -> Value {
    failed(&error.code().to_string(), error.text(), error.retry())
}

/// An error: its name, a sentence, and whether the same call may be made again without running twice.
pub(super) fn failed(name: &str, sentence: &str, retry: Retry) -> Value {
    let retry = if retry == Retry::Safe { "safe" } else { "unknown" };
    let sentence = shown(sentence.trim_end());
    let text = format!("{name}: {sentence} (retry: {retry})");
    json!({ "content": [{ "type": "text", "text": text }], "isError": true })
}

/// A reply that is to be a text: one in JSON, or as it is.
fn text_value(reply: &Response) -> Option<Value> {
    if reply.encoding == Encoding::JSON
        && let Ok(value @ Value::String(_)) = serde_json::from_slice(&reply.body)
    {
        return Some(value);
    }
    std::str::from_utf8(&reply.body).ok().map(Value::from)
}

/// A text, cut to what a conversation can bear, which it says then.
pub(super) fn shown(text: &str) -> String {
    if text.len() <= LONGEST_TEXT {
        return text.to_owned();
    }
    let (kept, cut) = text.split_at(text.floor_char_boundary(LONGEST_TEXT));
    format!("{kept}\n[cut: {} more bytes]", cut.len())
}

/// Bytes of a text.
pub(super) const LONGEST_TEXT: usize = 64 << 10;
/// Bytes that are no text.
const LONGEST_BLOB: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use ipc_client::{ErrorCode, MethodDescription, Shape, Type};

    use super::*;
    use crate::verbs::mcp::tools::{Offered, Tools};

    fn tool(reply: Option<Shape>) -> Tool {
        let mut method = MethodDescription::default();
        method.reply = reply.map(Type::plain);
        let mut description = ipc_client::Description::default();
        description.methods.insert("".parse().unwrap(), method);
        let methods = vec!["".parse().unwrap()];
        let offered = Offered { service: "a".parse().unwrap(), description: Some(description), methods };
        Tools::of([offered]).find("a").unwrap().clone()
    }

    #[test]
    fn what_has_a_schema_is_structured_and_the_same_as_text() {
        let result = of_reply(&tool(Some(Shape::I64)), &Response::new(Encoding::JSON, "3"));
        assert_eq!(result["structuredContent"], json!({ "result": 3 }));
        assert_eq!(result["content"][0]["text"], r#"{"result":3}"#);
    }

    #[test]
    fn what_breaks_its_schema_is_an_error_without_structure() {
        let result = of_reply(&tool(Some(Shape::I64)), &Response::bytes("three"));
        assert_eq!(result["isError"], json!(true));
        assert!(result.get("structuredContent").is_none());
    }

    #[test]
    fn a_text_may_come_as_bytes() {
        let as_text =
            |reply: Response| of_reply(&tool(Some(Shape::Str)), &reply)["structuredContent"]["result"].clone();
        assert_eq!(as_text(Response::bytes("A b")), "A b");
        assert_eq!(as_text(Response::new(Encoding::JSON, "\"A b\"")), "A b");
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let result = of_reply(&tool(None), &Response::bytes("ä".repeat(40_000)));
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.len() < LONGEST_TEXT + 40 && text.ends_with("ä\n[cut: 14464 more bytes]"), "{}", text.len());
    }

    #[test]
    fn bytes_that_are_no_text_are_a_blob() {
        let result = of_reply(&tool(None), &Response::bytes(&b"\xff\xfe"[..]));
        assert_eq!(result["content"][0]["resource"]["blob"], "//4=");
        let result = of_reply(&tool(None), &Response::bytes(vec![0xff; LONGEST_BLOB + 1]));
        assert_eq!(result["content"][0]["type"], "text");
    }

    #[test]
    fn an_error_says_whether_it_may_be_tried_again() {
        let text = |error: Error| of_error(&error)["content"][0]["text"].clone();
        assert_eq!(text(Error::new(ErrorCode::BUSY, "full")), "busy: full (retry: safe)");
        assert_eq!(text(Error::new(ErrorCode::SERVICE_GONE, "it died")), "service_gone: it died (retry: unknown)");
    }
}
