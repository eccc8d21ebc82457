//! What is done with each message of the client.

use std::{sync::Arc, thread, time::Duration};

use ipc_client::Retry;
use serde_json::{Map, Value, json};

use super::{
    call::{self, Call},
    calls::{Calls, Full},
    content,
    directory::Directory,
    listeners::Listeners,
    meta::Meta,
    outlet::Outlet,
    tools::{Tool, Tools},
};
use crate::{
    mcp::{
        message::{self, FAILED, Fault, Message, NO_METHOD, WRONG_PARAMS},
        version::{self, Era},
    },
    term,
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
    /// Whether the list was asked for before.
    pub(super) has_listed: bool,
}

/// The parameters of a message.
type Params = Map<String, Value>;

/// What a request for a call says beside tool and arguments.
struct Asked<'a> {
    id: &'a Value,
    params: &'a Params,
    era: Era,
}

impl Desk {
    /// Takes a line.
    pub(super) fn take(&mut self, line: &[u8]) {
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
    fn request(&mut self, id: &Value, method: &str, params: Params) -> Result<Option<Value>, Fault> {
        if method == "initialize" {
            return Ok(Some(self.initialize(&params)));
        }
        let era = Era::of(&params)?;
        match (method, era) {
            ("server/discover", _) => Ok(Some(discovery())),
            ("ping", Era::Sessions) => Ok(Some(json!({}))),
            ("tools/list", _) => Ok(Some(self.list(era))),
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

    fn list(&mut self, era: Era) -> Value {
        if !std::mem::replace(&mut self.has_listed, true) {
            self.directory.wait();
        }
        let tools = self.directory.refresh().listed();
        match era {
            Era::Sessions => json!({ "tools": tools }),
            Era::Stateless => {
                json!({ "tools": tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "private" })
            }
        }
    }

    fn listen(&self, id: &Value, params: &Params) -> Result<Option<Value>, Fault> {
        let wanted = params.get("notifications").and_then(|wanted| wanted.get("toolsListChanged"));
        if self.listeners.subscribe(id, wanted == Some(&Value::Bool(true)), &self.outlet) {
            return Ok(None);
        }
        Err(Fault::new(WRONG_PARAMS, "there are too many subscriptions, or one with this id"))
    }

    fn call(&mut self, id: &Value, mut params: Params, era: Era) -> Result<Option<Value>, Fault> {
        let Some(Value::String(name)) = params.remove("name") else {
            return Err(Fault::new(WRONG_PARAMS, "the name of the tool is missing"));
        };
        let arguments = match params.remove("arguments") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(arguments)) => arguments,
            Some(_) => return Err(Fault::new(WRONG_PARAMS, "the arguments are an object")),
        };
        let asked = Asked { id, params: &params, era };
        let tools = self.tools_with(&name);
        let meta = Meta::find(&name).filter(|_| tools.are_many());
        let outcome = match meta {
            Some(Meta::List) => {
                let filter = arguments.get("filter").and_then(Value::as_str).unwrap_or_default();
                Some(content::text(&tools.index(filter)))
            }
            Some(Meta::Describe) => Some(describe(&self.tools_with(called(&arguments)), called(&arguments))),
            Some(Meta::Call) => {
                let tools = self.tools_with(called(&arguments));
                let inner = arguments.get("arguments").and_then(Value::as_object).cloned().unwrap_or_default();
                match tools.find(called(&arguments)) {
                    Some(tool) => self.start(tool, inner, &asked)?,
                    None => Some(unknown(called(&arguments))),
                }
            }
            None => {
                let tool = tools.find(&name).ok_or_else(|| {
                    Fault::new(WRONG_PARAMS, format!("there is no tool '{name}'; its service may have gone"))
                })?;
                self.start(tool, arguments, &asked)?
            }
        };
        Ok(outcome.map(|result| era.result(result)))
    }

    /// The tools; those of the moment if this one isn't known yet.
    fn tools_with(&self, name: &str) -> Arc<Tools> {
        let known = self.directory.known();
        let is_known = known.find(name).is_some() || known.are_many() && Meta::find(name).is_some();
        if is_known { known } else { self.directory.refresh() }
    }

    /// Starts a call on a thread of its own. Returns a result if it doesn't come to that.
    fn start(&self, tool: &Tool, arguments: Params, asked: &Asked<'_>) -> Result<Option<Value>, Fault> {
        let Asked { id, params, era } = *asked;
        let token = version::meta(params, "progressToken").filter(|token| message::is_id(token));
        let time = self.deadline.unwrap_or(if token.is_some() { WATCHED } else { UNWATCHED });
        let mut request = match call::request(tool, arguments) {
            Ok(request) => request.timeout(time),
            Err(reason) => return Ok(Some(content::failed("invalid", &reason, Retry::Safe))),
        };
        request.trace = version::meta(params, "traceparent").and_then(Value::as_str).and_then(trace);
        let (place, cancel) = match self.calls.enter(id, token.cloned(), era) {
            Ok(entered) => entered,
            Err(Full::Same) => return Err(Fault::new(message::NO_MESSAGE, "a call with this id is under way")),
            Err(Full::TooMany) => return Ok(Some(busy("too many calls are under way"))),
            Err(Full::Host(error)) => {
                return Ok(Some(busy(&format!("cannot make an eventfd: {}", term::reason(&error)))));
            }
        };
        let call = Call { client: self.directory.client().clone(), tool: tool.clone(), request, time, cancel };
        match thread::Builder::new().name("call".to_owned()).spawn(move || call.make(place)) {
            Ok(_) => Ok(None),
            Err(_) => {
                self.calls.cancel(id);
                Err(Fault::new(FAILED, "this host has no threads left; the call has not run"))
            }
        }
    }
}

fn called(arguments: &Params) -> &str {
    arguments.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn describe(tools: &Tools, name: &str) -> Value {
    tools.find(name).map_or_else(|| unknown(name), |tool| content::text(&tool.listed().to_string()))
}

fn unknown(name: &str) -> Value {
    content::failed("no_service", &format!("there is no tool '{name}'; ipc_list names them"), Retry::Safe)
}

fn busy(reason: &str) -> Value {
    content::failed("busy", reason, Retry::Safe)
}

/// A trace context that the bus takes.
fn trace(text: &str) -> Option<String> {
    (!text.is_empty() && text.len() <= LONGEST_TRACE && text.is_ascii()).then(|| text.to_owned())
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
const UNWATCHED: Duration = Duration::from_secs(55);
const WATCHED: Duration = Duration::from_secs(60 * 60);
/// Bytes of a trace context, as the protocol has it.
const LONGEST_TRACE: usize = 255;
