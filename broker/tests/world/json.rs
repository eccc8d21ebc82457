//! A peer that speaks JSON-RPC: what it writes for a message, and what it reads of one.
//!
//! Its numbers are those that the broker gives its messages: each call, event or line that is none takes the next one.

use bytes::Bytes;
use ipc_protocol::{Encoding, Event, FieldTag, Gap, Message, NoFd, Routing};
use ipcd::front::json::{read_body, write_body};
use serde_json::{Value, json};

use super::DESCRIPTOR;

/// What is sent for a message. `None` if there are no words for it.
pub(super) fn write(message: &Message) -> Option<String> {
    let (id, answer) = match message {
        Message::Call(call) => {
            let (service, method) = (&call.routing.service(), &call.routing.method());
            let target = [service, method].map(|part| String::from_utf8_lossy(part)).join(".");
            let mut meta = json!({"timeout_ms": call.timeout_ms});
            if let Some(mark) = call.routing.text(FieldTag::TRACE) {
                meta["trace"] = json!(mark);
            }
            match (call.streams.request, call.streams.reply) {
                (false, false) => {}
                (true, false) => meta["stream"] = json!("request"),
                (false, true) => meta["stream"] = json!("reply"),
                (true, true) => meta["stream"] = json!("both"),
            }
            let (target, params) = (target.trim_end_matches('.'), text(call.encoding, &call.body));
            return Some(request((call.id, call.one_way), target, &format!(r#","meta":{meta}"#), &params));
        }
        Message::Event(event) => {
            let (topic, body) = (event.topic(), bytes(&event.body));
            let params = format!(r#"{{"topic":"{topic}","retained":{},"body":{body}}}"#, event.retained);
            return Some(request((event.id, event.one_way), "ipc.publish", "", &params));
        }
        Message::Cancel(cancel) => return Some(notice("cancelRequest", &json!({"id": cancel.id}).to_string())),
        Message::Item(item) => {
            let call = of(item.id, item.delivered);
            return Some(notice("item", &format!(r#"{{{call},"item":{}}}"#, bytes(&item.body))));
        }
        Message::End(end) => {
            let error = end.error.map(|code| json!({"code": number(code), "message": end.text}));
            let params = error.map_or(json!({"id": end.id}), |error| json!({"id": end.id, "error": error}));
            return Some(notice("end", &params.to_string()));
        }
        Message::Reply(reply) => (reply.id, format!(r#""result":{}"#, text(reply.encoding, &reply.body))),
        Message::Error(failure) => {
            let error = json!({"code": number(failure.code), "message": failure.text});
            (failure.id, format!(r#""error":{error}"#))
        }
        _ => return None,
    };
    Some(format!(r#"{{"jsonrpc":"2.0","id":"{id}",{answer}}}"#))
}

/// A first message.
pub(super) fn greeting(id: u64, agent: &str) -> String {
    request((id, false), "ipc.ping", &format!(r#","meta":{{"agent":"{agent}"}}"#), "{}")
}

fn request((id, one_way): (u64, bool), method: &str, meta: &str, params: &str) -> String {
    let id = if one_way { String::new() } else { format!(r#","id":{id}"#) };
    format!(r#"{{"jsonrpc":"2.0"{id},"method":"{method}"{meta},"params":{params}}}"#)
}

fn notice(name: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"$/{name}","params":{params}}}"#)
}

fn of(id: u64, delivered: bool) -> String {
    if delivered { format!(r#""call":"{id}""#) } else { format!(r#""id":{id}"#) }
}

/// A body where a text stands for its bytes.
fn text(encoding: Encoding, body: &[u8]) -> String {
    let mut out = Vec::new();
    write_body(encoding, body, &mut out);
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// Bytes where a text is a JSON document.
fn bytes(body: &[u8]) -> String {
    text(Encoding::BINCODE, body)
}

/// An error's number; any that the dialect doesn't have is the application's own.
fn number(code: ipc_protocol::ErrorCode) -> i32 {
    code.row().and_then(|row| row.json_rpc).unwrap_or_else(|| i32::from(code.0))
}

// ---- reading

/// The event or the gap in a line, if it is one.
pub(super) fn event(line: &Value) -> Option<Message> {
    let params = &line["params"];
    let id = || params["subscription"].as_u64().expect("a number");
    match line["method"].as_str()? {
        "$/gap" => Some(Message::Gap(Gap { id: id(), lost: params["lost"].as_u64().expect("a number") })),
        "$/event" => {
            let mut routing = Routing::on(params["topic"].as_str().expect("a text"));
            if let Some(sequence) = params["sequence"].as_u64() {
                routing.put(FieldTag::SEQUENCE, &sequence.to_le_bytes());
            }
            let (encoding, body) = read_body::<NoFd>(&Bytes::from(params["body"].to_string()));
            let (retained, publisher) = (params["retained"] == true, Bytes::new());
            let body = body.to_vec().into();
            let event =
                Event { id: id(), one_way: true, retained, encoding, publisher, routing: routing.build(), body };
            Some(Message::Event(event))
        }
        _ => None,
    }
}

/// Whether a line is what the router has sent.
pub(super) fn says(line: &Value, message: &Message) -> bool {
    let params = &line["params"];
    let is = |method: &str, id: u64| line["method"] == method && is_text(&params["call"], id);
    let is_of = |method: &str, id: u64, delivered: bool| match delivered {
        true => is(method, id),
        false => line["method"] == method && params["id"] == id,
    };
    match message {
        Message::Reply(reply) => line["id"] == reply.id && is_body(line.get("result"), reply.encoding, &reply.body),
        Message::Error(failure) => {
            // What was garbled, or too long to be read to its id, has none.
            let is_it = line["id"] == failure.id || line["id"].is_null();
            is_it && line["error"]["data"]["name"] == failure.code.to_string()
        }
        Message::Call(call) => {
            let (service, method) = (call.routing.service(), call.routing.method());
            line["method"] == "$/call"
                && is_text(&line["id"], call.id)
                && params["service"].as_str().map(str::as_bytes) == Some(service)
                && params["method"].as_str().map(str::as_bytes) == Some(method)
                && params["timeout_ms"] == call.timeout_ms
                && params["trace"].as_str() == call.routing.text(FieldTag::TRACE)
                && (params["one_way"] == true) == call.one_way
                && (params.get("params").is_none() && has_no_words(&call.body)
                    || is_body(params.get("params"), call.encoding, &call.body))
        }
        Message::Cancel(cancel) => is("$/cancel", cancel.id) && params["reason"] == cancel.reason.to_string(),
        Message::Item(item) => {
            is_of("$/item", item.id, item.delivered) && is_body(params.get("item"), item.encoding, &item.body)
        }
        Message::Credit(credit) => {
            is_of("$/credit", credit.id, credit.delivered)
                && params["items"] == credit.items
                && params["bytes"] == credit.bytes
        }
        Message::End(end) => is("$/end", end.id) && params.get("error").is_some() == end.error.is_some(),
        _ => false,
    }
}

/// Whether a text is a number.
fn is_text(value: &Value, number: u64) -> bool {
    value.as_str().is_some_and(|text| text.parse() == Ok(number))
}

/// Whether nothing stands for a body: it is empty, or in a descriptor.
fn has_no_words(body: &[u8]) -> bool {
    body.is_empty() || body == DESCRIPTOR.as_bytes()
}

fn is_body(value: Option<&Value>, encoding: Encoding, body: &[u8]) -> bool {
    let Some(value) = value else { return false };
    match encoding {
        _ if value == "" => has_no_words(body),
        Encoding::JSON => serde_json::from_slice::<Value>(body).ok().as_ref() == Some(value),
        _ => read_body::<NoFd>(&Bytes::from(value.to_string())).1 == *body,
    }
}
