//! What is done with each message of the client.

use std::{sync::Arc, thread, time::Duration};

use ipc_client::Retry;
use serde_json::{Map, Value, json};

use super::{
    calls::{Calls, Full},
    content,
    directory::Directory,
    errand::{Errand, Wish},
    listeners::Listeners,
    outlet::Outlet,
};
use crate::mcp::{
    message::{self, FAILED, Fault, Message, NO_METHOD, WRONG_PARAMS},
    version::{self, Era},
};

/// All that one client has under way.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) directory: Arc<Directory>,
    pub(super) listeners: Arc<Listeners>,
    pub(super) outlet: Arc<Outlet>,
    pub(super) calls: Arc<Calls>,
    /// How long a call may take, if the user has said.
    pub(super) deadline: Option<Duration>,
}

/// The parameters of a message.
type Params = Map<String, Value>;

impl Desk {
    /// Takes a line.
    pub(super) fn take(&self, line: &[u8]) {
        for message in message::read(line) {
            match message {
                Ok(Message::Request { id, method, params }) => {
                    if let Some(outcome) = self.request(&id, &method, params).transpose() {
                        self.outlet.say(&message::reply(&id, outcome));
                    }
                }
                Ok(Message::Notification { method, params }) => self.notification(&method, &params),
                Ok(Message::Answer { .. }) => {} // nothing is asked of clients
                Err(refused) => self.outlet.say(&message::reply(&refused.id, Err(refused.fault))),
            }
        }
    }

    /// A line that was too long to be kept.
    pub(super) fn refuse_line(&self, most: usize) {
        let fault = Fault::new(message::UNREADABLE, format!("a line has at most {most} bytes"));
        self.outlet.say(&message::reply(&Value::Null, Err(fault)));
    }

    /// Answers a request now, or later: then there is nothing to say yet.
    fn request(&self, id: &Value, method: &str, params: Params) -> Result<Option<Value>, Fault> {
        if method == "initialize" {
            return Ok(Some(self.initialize(&params)));
        }
        let era = Era::of(&params)?;
        match (method, era) {
            ("server/discover", _) => Ok(Some(discovery())),
            ("ping", Era::Sessions) => Ok(Some(json!({}))),
            ("tools/list", _) => self.list(id, params, era),
            ("tools/call", _) => self.call(id, params, era),
            ("subscriptions/listen", Era::Stateless) => self.listen(id, &params),
            _ => Err(Fault::new(NO_METHOD, format!("there is no method '{method}'"))),
        }
    }

    fn notification(&self, method: &str, params: &Params) {
        if method == "notifications/cancelled"
            && let Some(id) = params.get("requestId")
            && !self.calls.cancel(id)
        {
            self.listeners.cancel(id);
        }
    }

    fn initialize(&self, params: &Params) -> Value {
        self.listeners.begin_session();
        json!({
            "protocolVersion": version::of_session(params.get("protocolVersion").unwrap_or(&Value::Null)),
            "capabilities": capabilities(),
            "serverInfo": version::introduction(),
            "instructions": INSTRUCTIONS,
        })
    }

    fn listen(&self, id: &Value, params: &Params) -> Result<Option<Value>, Fault> {
        let wanted = params.get("notifications").and_then(|wanted| wanted.get("toolsListChanged"));
        if self.listeners.subscribe(id, wanted == Some(&Value::Bool(true)), &self.outlet) {
            return Ok(None);
        }
        Err(Fault::new(WRONG_PARAMS, "there are too many subscriptions, or one with this id"))
    }

    fn call(&self, id: &Value, mut params: Params, era: Era) -> Result<Option<Value>, Fault> {
        let Some(Value::String(name)) = params.remove("name") else {
            return Err(Fault::new(WRONG_PARAMS, "the name of the tool is missing"));
        };
        let arguments = match params.remove("arguments") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(arguments)) => arguments,
            Some(_) => return Err(Fault::new(WRONG_PARAMS, "the arguments are an object")),
        };
        match self.begin(id, Wish::Call(name, arguments), params, era) {
            Ok(()) => Ok(None),
            Err(Full::Same) => Err(Fault::new(message::NO_MESSAGE, Full::Same.to_string())),
            Err(full) => Ok(Some(era.result(content::failed("busy", &full.to_string(), Retry::Safe)))),
        }
    }

    fn list(&self, id: &Value, params: Params, era: Era) -> Result<Option<Value>, Fault> {
        match self.begin(id, Wish::List, params, era) {
            Ok(()) => Ok(None),
            Err(Full::Same) => Err(Fault::new(message::NO_MESSAGE, Full::Same.to_string())),
            Err(full) => Err(Fault::new(FAILED, full.to_string())),
        }
    }

    /// Begins what the broker is asked for, on a thread of its own.
    fn begin(&self, id: &Value, wish: Wish, params: Params, era: Era) -> Result<(), Full> {
        let token = version::meta(&params, "progressToken").filter(|token| message::is_id(token));
        let time = self.deadline.unwrap_or(if token.is_some() { WATCHED } else { UNWATCHED });
        let (place, cancel) = self.calls.enter(id, token.cloned(), era)?;
        let errand = Errand { directory: self.directory.clone(), wish, params, era, time, cancel };
        let began = thread::Builder::new().name("call".to_owned()).spawn(move || errand.run(place));
        began.map(drop).map_err(|_| {
            self.calls.cancel(id);
            Full::Threads
        })
    }
}

fn capabilities() -> Value {
    json!({ "tools": { "listChanged": true } })
}

fn discovery() -> Value {
    json!({
        "resultType": "complete",
        "supportedVersions": [version::STATELESS],
        "capabilities": capabilities(),
        "instructions": INSTRUCTIONS,
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": { version::SERVER: version::introduction() },
    })
}

const INSTRUCTIONS: &str = "Tools are methods of services on this machine. An error ends in 'retry: safe' if the call has not run, \
    and in 'retry: unknown' if it may have.";
/// Clients give up on a call after 60 s, unless they are told of its progress.
pub(super) const UNWATCHED: Duration = Duration::from_secs(55);
const WATCHED: Duration = Duration::from_secs(60 * 60);
