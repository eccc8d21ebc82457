//! A server of the Model Context Protocol on its standard streams, in either era: `toolbox sessions`, `toolbox stateless`, and as some
//! are, `toolbox leaves` (it ends on a question that it doesn't know), `toolbox silent` (it never answers that one), `toolbox crowded`
//! (it has very many tools) and `toolbox rude` (some of them write without measure). A call of `grow` gives it one tool more, which it tells.
//!
//! With `TOOLBOX_LOG` it writes down, a line each, that it was asked for something slow, and that it was told to cancel.
#![forbid(unsafe_code)]

use std::{
    fs::OpenOptions,
    io::{self, BufRead, Write},
    thread,
};

use serde_json::{Value, json};

fn main() {
    let era = std::env::args().nth(1).unwrap_or_default();
    let mut has_grown = false;
    let mut subscription = None;
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        let (method, id) = (message["method"].as_str().unwrap_or_default(), &message["id"]);
        match (method, era.as_str()) {
            ("server/discover", "leaves") => std::process::exit(3),
            ("server/discover", "silent") => {}
            ("server/discover", "stateless") => answer(id, json!({ "supportedVersions": ["2026-07-28"] })),
            ("initialize", "sessions" | "leaves" | "silent" | "crowded" | "rude") => {
                answer(id, json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": {} } }));
            }
            ("subscriptions/listen", "stateless") => subscription = Some(id.clone()),
            ("tools/list", "crowded") => crowd(id),
            ("tools/list", "rude") => {
                let names = ["addUp", "slow", "pid", "babble", "blanks", "ask", "big", "large"];
                answer(id, json!({ "tools": names.map(tool) }));
            }
            ("tools/list", _) => list(&message, id, has_grown),
            ("tools/call", _) if message["params"]["name"] == "grow" => {
                has_grown = true;
                tell_change(&era, subscription.as_ref());
                answer(id, json!({ "content": [] }));
            }
            ("tools/call", _) => call(&message["params"], id),
            ("notifications/cancelled", _) => write_down("cancelled"),
            _ if id.is_null() => {}
            _ => say(&json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": "no such method" } })),
        }
    }
}

fn tool(name: &str) -> Value {
    json!({ "name": name, "description": format!("does {name}"), "inputSchema": { "type": "object" } })
}

/// In the stateless era a client is told only if it has asked for it.
fn tell_change(era: &str, subscription: Option<&Value>) {
    let params = match (era, subscription) {
        ("stateless", None) => return,
        ("stateless", Some(id)) => json!({ "_meta": { "io.modelcontextprotocol/subscriptionId": id } }),
        _ => json!({}),
    };
    say(&json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": params }));
}

/// All at once.
fn crowd(id: &Value) {
    let tools: Value = (0..500).map(|at| tool(&format!("tool number {at}"))).collect();
    answer(id, json!({ "tools": tools }));
}

/// Two pages.
fn list(message: &Value, id: &Value, has_grown: bool) {
    if message["params"]["cursor"] == "2" {
        let names = ["fail", "die", "count", "slow", "grow"].into_iter().chain(has_grown.then_some("grown"));
        return answer(id, json!({ "tools": names.map(tool).collect::<Value>() }));
    }
    let mut sum = tool("addUp");
    sum["inputSchema"] = json!({
        "type": "object",
        "properties": { "a": { "type": "integer" }, "b": { "type": "integer" } },
        "required": ["a", "b"],
    });
    sum["title"] = json!("Add up");
    sum["annotations"] = json!({ "readOnlyHint": true, "openWorldHint": false });
    sum["outputSchema"] =
        json!({ "type": "object", "properties": { "sum": { "type": "integer" } }, "required": ["sum"] });
    answer(id, json!({ "tools": [sum, tool("pid")], "nextCursor": "2" }));
}

fn call(params: &Value, id: &Value) {
    let text = |text: String| json!({ "content": [{ "type": "text", "text": text }] });
    match params["name"].as_str().unwrap_or_default() {
        "addUp" => {
            let number = |name: &str| params["arguments"][name].as_i64().unwrap_or_default();
            let sum = number("a") + number("b");
            answer(id, json!({ "content": [], "structuredContent": { "sum": sum } }));
        }
        "pid" => answer(id, text(std::process::id().to_string())),
        "fail" => {
            let content = json!([{ "type": "text", "text": "it went wrong" }]);
            answer(id, json!({ "content": content, "isError": true }));
        }
        "die" => std::process::exit(3),
        "count" => {
            let token = &params["_meta"]["progressToken"];
            for progress in 1..=3 {
                let params = json!({ "progressToken": token, "progress": progress, "total": 3, "message": "counting" });
                say(&json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params }));
            }
            answer(id, text("counted".to_owned()));
        }
        "babble" => babble(params, id),
        "blanks" => drop(thread::spawn(|| while io::stdout().write_all(&[b'\n'; 1 << 16]).is_ok() {})),
        "ask" => repeat(&json!({ "jsonrpc": "2.0", "id": "x".repeat(2_000), "method": "?" }).to_string(), 50_000),
        "big" => answer(id, text("x".repeat(10 << 20))),
        "large" => say(&json!({ "jsonrpc": "2.0", "result": text("x".repeat(10 << 20)) })), // to nothing that was asked
        _ => write_down("slow"),                                                            // it takes for ever
    }
}

/// Progress as long as a book, while other tools work.
fn babble(params: &Value, id: &Value) {
    let said =
        json!({ "progressToken": params["_meta"]["progressToken"], "progress": 1, "message": "m".repeat(30_000) });
    let line = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": said }).to_string();
    let id = id.clone();
    thread::spawn(move || {
        repeat(&line, 1_000);
        write_down("babbled");
        answer(&id, json!({ "content": [] }));
    });
}

fn answer(id: &Value, result: Value) {
    let mut result = result;
    result["resultType"] = json!("complete");
    say(&json!({ "jsonrpc": "2.0", "id": id, "result": result }));
}

/// Writes a line again and again, until its reader has gone.
fn repeat(line: &str, times: usize) {
    let _ = (0..times).try_for_each(|_| writeln!(io::stdout().lock(), "{line}"));
}

fn say(message: &Value) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{message}").and_then(|()| stdout.flush()); // its reader may have gone
}

fn write_down(line: &str) {
    let log = std::env::var_os("TOOLBOX_LOG").map(|path| OpenOptions::new().create(true).append(true).open(path));
    if let Some(Ok(mut log)) = log {
        let _ = writeln!(log, "{line}"); // the test looks for it
    }
}
