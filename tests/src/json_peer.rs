//! A peer that speaks JSON-RPC, in lines that the test writes out.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
};

use serde_json::{Value, json};

use crate::{broker::Broker, eventually::SOON};

/// A connection in JSON-RPC. Each wait ends within [`SOON`].
#[derive(Debug)]
pub struct JsonPeer {
    stream: BufReader<UnixStream>,
    last: u64,
}

impl JsonPeer {
    /// Connects.
    #[must_use]
    pub fn connect(broker: &Broker) -> Self {
        let stream = UnixStream::connect(broker.socket()).expect("the broker listens");
        stream.set_read_timeout(Some(SOON)).expect("the timeout is not zero");
        stream.set_write_timeout(Some(SOON)).expect("the timeout is not zero");
        Self { stream: BufReader::new(stream), last: 0 }
    }

    /// Its socket.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        self.stream.get_ref()
    }

    /// Sends bytes, which end nowhere in particular.
    #[track_caller]
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).expect("the broker reads");
    }

    /// The next line; empty at the end of the connection.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("the broker writes");
        line
    }

    /// The next message.
    #[track_caller]
    pub fn message(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
    }

    /// Sends a request with the next number, and returns that.
    #[track_caller]
    pub fn call(&mut self, method: &str, params: &Value) -> u64 {
        self.last += 1;
        self.say(json!({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}).to_string());
        self.last
    }

    /// Calls, and returns the result.
    #[track_caller]
    pub fn ask(&mut self, method: &str, params: &Value) -> Value {
        let id = self.call(method, params);
        let answer = self.message();
        assert_eq!(answer["id"], id, "{answer}");
        assert!(answer.get("error").is_none(), "{answer}");
        answer["result"].clone()
    }

    /// The number of the error of the next answer.
    #[track_caller]
    pub fn error(&mut self) -> i64 {
        let answer = self.message();
        answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {answer}"))
    }

    /// Offers a name that takes this many calls at once.
    #[track_caller]
    pub fn register(&mut self, name: &str, window: u32) {
        self.ask("ipc.register", &json!({"name": name, "window": window}));
    }

    /// The next call that is delivered to it: its id, and what it says.
    #[track_caller]
    pub fn delivered(&mut self) -> (Value, Value) {
        let call = self.message();
        assert_eq!(call["method"], "$/call", "{call}");
        (call["id"].clone(), call["params"].clone())
    }

    /// Answers a call.
    #[track_caller]
    pub fn answer(&mut self, id: &Value, result: &Value) {
        self.say(json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
    }
}
