//! A call of a tool, from its arguments to its result.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use ipc_client::{
    Bell, Client, DownlinkBytes, Encoding, Error, ErrorCode, Request, Response, Result, Retry, Streams, Target,
};
use serde_json::{Map, Value};

use super::{
    calls::Place,
    content::{self, LONGEST_TEXT},
    schema::Arguments,
    tools::{Manner, Tool},
};
use crate::duration;

/// A call that is to be made.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) client: Client,
    pub(super) tool: Tool,
    pub(super) request: Request,
    /// How long the client waits.
    pub(super) time: Duration,
    /// Rings when it waits no more.
    pub(super) cancel: Bell,
}

/// How a call with items ended.
enum Streamed {
    Result(Value),
    /// The service sends no items, and hasn't run the call.
    Refused,
}

impl Call {
    /// Makes the call, and answers with what it ended with.
    pub(super) fn make(self, place: Place) {
        let result = self.outcome(&place).unwrap_or_else(|error| content::of_error(&error));
        place.answer(result);
    }

    fn outcome(&self, place: &Place) -> Result<Value> {
        if self.tool.manner == Manner::OneWay {
            self.client.one_way(self.request.clone())?;
            return Ok(content::text("sent; no answer follows"));
        }
        if (self.tool.manner == Manner::Stream || place.is_watched())
            && let Streamed::Result(result) = self.stream(place)?
        {
            return Ok(result);
        }
        let reply = self.client.start_bytes(self.request.clone())?.wait_or_interrupt(self.cancel.as_fd())?;
        Ok(content::of_reply(&self.tool, &reply))
    }

    /// The deadline of a call with items is one of silence; that of a tool isn't, so it is kept here.
    fn stream(&self, place: &Place) -> Result<Streamed> {
        let ends_at = Instant::now() + self.time;
        let call = self.client.stream_bytes(self.request.clone(), Streams { request: false, reply: true })?;
        let (_up, mut down) = call.split();
        let mut items = Items::default();
        loop {
            let until = place.catch_up().into_iter().chain([ends_at]).min();
            match down.next_until(until, Some(self.cancel.as_fd())) {
                Ok(Some(Some(item))) => {
                    place.item(&item);
                    items.add(item, place.is_watched());
                }
                Ok(Some(None)) => return self.end(down, &items).map(Streamed::Result),
                Ok(None) if Instant::now() >= ends_at => return Err(late(self.time)),
                Ok(None) => {}
                Err(error) if self.is_refusal(&error) && items.last.is_none() => return Ok(Streamed::Refused),
                Err(error) => return Err(error),
            }
        }
    }

    fn is_refusal(&self, error: &Error) -> bool {
        let is_wrong = error.code() == ErrorCode::INVALID && error.retry() == Retry::Safe;
        is_wrong && self.tool.manner != Manner::Stream
    }

    /// The reply is the result. Without one the last item is, or all of them if none was shown before.
    fn end(&self, down: DownlinkBytes, items: &Items) -> Result<Value> {
        let reply = down.end()?;
        let is_empty = matches!(reply.body.trim_ascii(), b"" | b"null");
        Ok(match &items.last {
            Some(_) if is_empty && !items.all.is_empty() => content::text(&String::from_utf8_lossy(&items.all)),
            Some(last) if is_empty => content::of_reply(&self.tool, last),
            _ => content::of_reply(&self.tool, &reply),
        })
    }
}

/// What was sent before the end.
#[derive(Default)]
struct Items {
    last: Option<Response>,
    /// A line for each, if they weren't shown, up to one byte more than a text may have.
    all: Vec<u8>,
}

impl Items {
    fn add(&mut self, item: Response, is_shown: bool) {
        if !is_shown && self.all.len() <= LONGEST_TEXT {
            self.all.extend_from_slice(item.body.trim_ascii_end());
            self.all.push(b'\n');
        }
        self.last = Some(item);
    }
}

fn late(time: Duration) -> Error {
    Error::new(ErrorCode::DEADLINE, format!("the call has not ended within {}", duration::display(time)))
}

/// The request that a tool's arguments stand for. Arguments that don't fit say why.
pub(super) fn request(tool: &Tool, mut arguments: Map<String, Value>) -> std::result::Result<Request, String> {
    let mut only = |member: &str, kind: &str| {
        let only = arguments.remove(member).ok_or_else(|| format!("the argument '{member}'{kind} is missing"))?;
        match arguments.keys().next() {
            Some(other) => Err(format!("there is no argument '{other}'; the tool takes '{member}' alone")),
            None => Ok(only),
        }
    };
    let (encoding, body) = match tool.arguments {
        Arguments::Whole => (Encoding::JSON, Value::Object(arguments).to_string()),
        Arguments::None => match arguments.keys().next() {
            Some(other) => return Err(format!("there is no argument '{other}'; the tool takes none")),
            None => (Encoding::JSON, Value::Null.to_string()),
        },
        Arguments::Request => (Encoding::JSON, only("request", "")?.to_string()),
        Arguments::Input => match only("input", ", a text,")? {
            Value::String(input) => (Encoding::BYTES, input),
            _ => return Err("the argument 'input' is a text".to_owned()),
        },
    };
    let target = Target::Name(tool.service.clone());
    Ok(Request::new(target, body).method(tool.method.clone()).encoding(encoding))
}
