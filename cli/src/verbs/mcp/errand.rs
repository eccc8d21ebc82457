//! A request for which the broker is asked, and which may take a while: the list of tools, or a call. Each has a thread of its own.

use std::{error::Error as _, io, sync::Arc, time::Duration};

use ipc_client::{Bell, Error, ErrorCode, Retry};
use serde_json::{Map, Value, json};

use super::{
    call::{self, Call},
    calls::Place,
    content,
    directory::Directory,
    meta::Meta,
    tools::{Tool, Tools},
};
use crate::mcp::{
    message::{FAILED, Fault, WRONG_PARAMS},
    version::{self, Era},
};

/// The request.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) directory: Arc<Directory>,
    pub(super) wish: Wish,
    /// Its parameters, without those of the wish.
    pub(super) params: Map<String, Value>,
    pub(super) era: Era,
    /// How long a call may take.
    pub(super) time: Duration,
    /// Rings when the client wants no answer any more.
    pub(super) cancel: Bell,
}

/// What a client wants.
#[derive(Debug)]
pub(super) enum Wish {
    /// The tools.
    List,
    /// A call of the tool with this name, with these arguments.
    Call(String, Map<String, Value>),
}

/// What becomes of a call.
enum Outcome {
    Made(Box<Call>),
    Result(Value),
}

impl Errand {
    /// Does what is wanted, and answers.
    pub(super) fn run(mut self, place: Place) {
        let (name, arguments) = match &mut self.wish {
            Wish::List => {
                let listed = self.list();
                return place.end(listed);
            }
            Wish::Call(name, arguments) => (std::mem::take(name), std::mem::take(arguments)),
        };
        match self.call(&name, arguments) {
            Ok(Outcome::Made(call)) if place.is_wanted() => call.make(place),
            Ok(Outcome::Made(_)) => {}
            Ok(Outcome::Result(result)) => place.answer(result),
            Err(fault) => place.end(Err(fault)),
        }
    }

    /// The tools. If the broker doesn't answer they are those of the last list, if that had any. Who may use none is offered none.
    fn list(&self) -> Result<Value, Fault> {
        self.directory.wait();
        let tools = self.directory.refresh().or_else(|error| {
            let known = self.directory.known();
            let is_enough = error.code() == ErrorCode::DENIED || !known.are_none();
            if is_enough { Ok(known) } else { Err(unanswered(&error)) }
        })?;
        let tools = tools.listed();
        Ok(match self.era {
            Era::Sessions => json!({ "tools": tools }),
            Era::Stateless => {
                json!({ "tools": tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "private" })
            }
        })
    }

    fn call(self, name: &str, arguments: Map<String, Value>) -> Result<Outcome, Fault> {
        let tools = self.tools_with(name)?;
        let meta = Meta::find(name).filter(|_| tools.are_many());
        let called = arguments.get("name").and_then(Value::as_str).unwrap_or_default();
        Ok(match meta {
            Some(Meta::List) => {
                let filter = arguments.get("filter").and_then(Value::as_str).unwrap_or_default();
                Outcome::Result(content::text(&tools.index(filter)))
            }
            Some(Meta::Describe) => Outcome::Result(describe(&*self.tools_with(called)?, called)),
            Some(Meta::Call) => {
                let tools = self.tools_with(called)?;
                let inner = arguments.get("arguments").and_then(Value::as_object).cloned().unwrap_or_default();
                match tools.find(called) {
                    Some(tool) => self.made(tool, inner),
                    None => Outcome::Result(unknown(&tools, called)),
                }
            }
            None => match tools.find(name) {
                Some(tool) => self.made(tool, arguments),
                None => return Err(Fault::new(WRONG_PARAMS, no_tool(&tools, name, "its service may have gone"))),
            },
        })
    }

    /// The tools; those of the moment if this one isn't known yet.
    fn tools_with(&self, name: &str) -> Result<Arc<Tools>, Fault> {
        let known = self.directory.known();
        if known.find(name).is_some() || known.are_many() && Meta::find(name).is_some() {
            return Ok(known);
        }
        self.directory.wait();
        self.directory.refresh().map_err(|error| unanswered(&error))
    }

    /// A call that is to be made, unless its arguments don't fit.
    fn made(self, tool: &Tool, arguments: Map<String, Value>) -> Outcome {
        let mut request = match call::request(tool, arguments) {
            Ok(request) => request.timeout(self.time),
            Err(reason) => return Outcome::Result(content::failed("invalid", &reason, Retry::Safe)),
        };
        request.trace = version::meta(&self.params, "traceparent").and_then(Value::as_str).and_then(trace);
        let (client, tool) = (self.directory.client().clone(), tool.clone());
        Outcome::Made(Box::new(Call { client, tool, request, time: self.time, cancel: self.cancel }))
    }
}

/// Why the tools can't be looked up.
fn unanswered(error: &Error) -> Fault {
    let kind = error.source().and_then(|source| source.downcast_ref()).map(io::Error::kind);
    let is_silent = error.code() == ErrorCode::DEADLINE || kind == Some(io::ErrorKind::TimedOut);
    let silent = "the broker does not answer: is it stopped, or overloaded?".to_owned();
    Fault::new(FAILED, if is_silent { silent } else { format!("the tools can't be looked up: {}", error.text()) })
}

fn describe(tools: &Tools, name: &str) -> Value {
    tools.find(name).map_or_else(|| unknown(tools, name), |tool| content::text(&tool.listed().to_string()))
}

fn unknown(tools: &Tools, name: &str) -> Value {
    content::failed("no_service", &no_tool(tools, name, "ipc_list names them"), Retry::Safe)
}

/// That there is no such tool, and which one may have been meant; else `otherwise`.
fn no_tool(tools: &Tools, name: &str, otherwise: &str) -> String {
    let meant = tools.nearest(name).map(|near| format!("did you mean '{near}'?"));
    format!("there is no tool '{name}'; {}", meant.as_deref().unwrap_or(otherwise))
}

/// A trace context that the bus takes.
fn trace(text: &str) -> Option<String> {
    (!text.is_empty() && text.len() <= LONGEST_TRACE && text.is_ascii()).then(|| text.to_owned())
}

/// Bytes of a trace context, as the protocol has it.
const LONGEST_TRACE: usize = 255;
