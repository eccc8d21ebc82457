//! An agent: it starts `ipcctl mcp` and talks with it, a line at a time.

use serde_json::{Value, json};

use crate::{
    broker::Broker,
    command::{Finished, Running},
    eventually::{SOON, eventually_some},
};

/// An agent with its server. Dropping it ends the server.
#[derive(Debug)]
pub struct Agent {
    server: Running,
    is_stateless: bool,
    last: u64,
}

impl Agent {
    /// One that speaks as agents did up to 2025-11-25: a handshake, then requests.
    #[track_caller]
    #[must_use]
    pub fn with_session(broker: &Broker, arguments: &[&str]) -> Self {
        let mut agent = Self::start(broker, arguments, false);
        let info = json!({ "name": "test", "version": "1" });
        let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info });
        let greeted = agent.ask("initialize", params);
        assert_eq!(greeted["result"]["protocolVersion"], "2025-06-18", "{greeted}");
        agent.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        agent
    }

    /// One that speaks as agents do since 2026-07-28: each request says for itself what it needs.
    #[track_caller]
    #[must_use]
    pub fn stateless(broker: &Broker, arguments: &[&str]) -> Self {
        Self::start(broker, arguments, true)
    }

    fn start(broker: &Broker, arguments: &[&str], is_stateless: bool) -> Self {
        let arguments = [&["mcp"], arguments].concat();
        let server = broker.ipcctl(arguments).env("XDG_CACHE_HOME", broker.directory()).interactive().start();
        Self { server, is_stateless, last: 0 }
    }

    /// Sends a request, and returns its id.
    #[track_caller]
    pub fn send(&mut self, method: &str, mut params: Value) -> u64 {
        if self.is_stateless {
            params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        }
        self.last += 1;
        self.say(&json!({ "jsonrpc": "2.0", "id": self.last, "method": method, "params": params }));
        self.last
    }

    /// Sends a request and waits for its answer.
    #[track_caller]
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        self.answer(id)
    }

    /// Calls a tool and returns its result.
    #[track_caller]
    pub fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let mut answer = self.ask("tools/call", json!({ "name": tool, "arguments": arguments }));
        answer["result"].take()
    }

    /// The names of the tools.
    #[track_caller]
    pub fn tools(&mut self) -> Vec<String> {
        let answer = self.ask("tools/list", json!({}));
        let tools = answer["result"]["tools"].as_array().cloned().unwrap_or_default();
        tools.iter().map(|tool| tool["name"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Sends a notification that a request is of no more use.
    #[track_caller]
    pub fn cancel(&mut self, id: u64) {
        self.say(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } }));
    }

    /// Sends a message.
    #[track_caller]
    pub fn say(&mut self, message: &Value) {
        self.write(format!("{message}\n").as_bytes());
    }

    /// Sends whatever it likes.
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        self.server.write(bytes);
    }

    /// Waits for the answer to a request.
    #[track_caller]
    pub fn answer(&self, id: u64) -> Value {
        self.expect(&format!("the answer to {id}"), |message| message["id"] == id && message.get("method").is_none())
    }

    /// Waits for a message.
    #[track_caller]
    pub fn expect(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        eventually_some(SOON, what, || self.messages().into_iter().find(|message| is_it(message)))
    }

    /// All messages so far.
    #[must_use]
    pub fn messages(&self) -> Vec<Value> {
        self.server.output_so_far().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The process of its server.
    #[must_use]
    pub fn server(&self) -> u32 {
        self.server.pid()
    }

    /// Closes the pipe, and waits for the end of the server.
    #[track_caller]
    #[must_use]
    pub fn leave(mut self) -> Finished {
        self.server.end_input();
        self.server.finish()
    }
}
