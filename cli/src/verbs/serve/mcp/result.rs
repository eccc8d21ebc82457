//! The results of tools as replies.

use ipc_client::{Encoding, ErrorCode, Failed, Response};
use serde_json::{Value, json};

use crate::mcp::message::{Fault, NO_METHOD, WRONG_PARAMS};

/// The reply to a call, or its error.
pub(super) fn reply(outcome: Result<Value, Fault>) -> Result<Response, Failed> {
    let result = outcome.map_err(|fault| {
        let code = match fault.code {
            WRONG_PARAMS => ErrorCode::INVALID,
            NO_METHOD => ErrorCode::NO_METHOD,
            _ => ErrorCode::INTERNAL,
        };
        Failed::new(code, cut(&fault.message))
    })?;
    if result.get("resultType").is_some_and(|kind| kind != "complete") {
        return Err(Failed::new(ErrorCode::INTERNAL, "the tool asks for more input, which no call can give"));
    }
    let texts = texts(&result);
    if result.get("isError") == Some(&Value::Bool(true)) {
        let text = texts.unwrap_or_else(|| "the tool says that it failed".to_owned());
        return Err(Failed::new(ErrorCode::APP_ERROR, cut(&text)).app_code(1));
    }
    Ok(match (result.get("structuredContent"), texts) {
        (Some(structured), _) if !structured.is_null() => Response::new(Encoding::JSON, structured.to_string()),
        (_, Some(text)) => Response::bytes(text),
        (_, None) => {
            let content = result.get("content").cloned().unwrap_or_default();
            Response::new(Encoding::JSON, json!({ "content": content }).to_string())
        }
    })
}

/// The content, if it is text alone.
fn texts(result: &Value) -> Option<String> {
    let parts = result.get("content")?.as_array()?;
    let text = |part: &Value| Some(part.get("text").filter(|_| part["type"] == "text")?.as_str()?.to_owned());
    Some(parts.iter().map(text).collect::<Option<Vec<_>>>()?.join("\n"))
}

/// An error's text, as far as the bus carries it.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LONGEST_TEXT)).unwrap_or_default()
}

const LONGEST_TEXT: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_goes_before_text_and_text_before_the_rest() {
        let text = json!([{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }]);
        let body = |result: Value| reply(Ok(result)).unwrap().body;
        assert_eq!(body(json!({ "content": text, "structuredContent": { "x": 1 } })), r#"{"x":1}"#);
        assert_eq!(body(json!({ "content": text })), "a\nb");
        assert_eq!(body(json!({ "content": [{ "type": "image" }] })), r#"{"content":[{"type":"image"}]}"#);
    }

    #[test]
    fn a_tool_that_failed_is_an_error_of_the_application() {
        let failed = reply(Ok(json!({ "isError": true, "content": [{ "type": "text", "text": "no" }] }))).unwrap_err();
        assert_eq!(failed, Failed::new(ErrorCode::APP_ERROR, "no").app_code(1));
        let refused = reply(Err(Fault::new(WRONG_PARAMS, "which?"))).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::INVALID);
        let asking = reply(Ok(json!({ "resultType": "input_required" }))).unwrap_err();
        assert_eq!(asking.code(), ErrorCode::INTERNAL);
    }
}
