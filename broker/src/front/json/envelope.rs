//! Envelopes: what is around a call, an answer or a notification, in one object.

use std::ops::Range;

use bytes::Bytes;
use ipc_protocol::{
    Cancel, End, ErrorCode, FieldTag, Retry, Routing, RoutingBuilder, RoutingError, Streams, Target, Topic,
    wire::{Call, Element, Event, Failure, Message, Reply},
};

use super::{
    body::{self, Texts},
    desk::{Desk, NULL},
    value::{Parts, number, text},
};

/// One object: where its members lie.
#[derive(Debug, Default)]
pub(super) struct Envelope {
    id: Option<Range<usize>>,
    method: Option<Range<usize>>,
    params: Option<Range<usize>>,
    result: Option<Range<usize>>,
    error: Option<Range<usize>>,
    meta: Option<Range<usize>>,
    version: Option<Range<usize>>,
}

/// An object and its bytes.
pub(super) struct Letter<'a> {
    /// The bytes that it is part of.
    pub(super) whole: &'a Bytes,
    /// Where it lies.
    pub(super) at: Range<usize>,
    /// Whether the bytes are this connection's own.
    pub(super) is_own: bool,
    /// The batch that it is part of.
    pub(super) batch: Option<u64>,
}

/// What has become of an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// A message.
    Message,
    /// A call or an event with an impossible name.
    Misnamed(u64, RoutingError),
    /// A call that isn't well formed: its number, and what is wrong.
    Malformed(u64, &'static str),
    /// A request that only a notification can be: its number.
    NoMethod(u64),
    /// A notification that means nothing here.
    Nothing,
}

/// The method of the last call, whose routing section is used again.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Last {
    method: Box<[u8]>,
    routing: Routing,
}

/// What `meta` says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Meta {
    timeout_ms: u32,
    trace: Option<String>,
    streams: Streams,
}

impl Letter<'_> {
    /// Reads the object into `into`.
    pub(super) fn open<F>(self, desk: &mut Desk, last: &mut Last, into: &mut Message<F>) -> Opened {
        let envelope = match Envelope::read(self.bytes(&self.at)) {
            Ok(envelope) => envelope,
            Err(fault) => return Opened::Malformed(desk.ask(NULL, self.batch), fault),
        };
        let id = match self.id(&envelope) {
            Ok(id) => id,
            Err(fault) => return Opened::Malformed(desk.ask(NULL, self.batch), fault),
        };
        if envelope.method.is_none() && (envelope.result.is_some() || envelope.error.is_some()) {
            return self.answer(&envelope, id, desk, into);
        }
        let name = envelope.method.clone().and_then(|at| text(self.part(at)));
        let (Some(name), true) = (name, self.is_of_version(&envelope)) else {
            let fault = "a request has \"jsonrpc\":\"2.0\" and a method that is a text";
            return Opened::Malformed(desk.ask(id.unwrap_or(NULL), self.batch), fault);
        };
        if let Some(notice) = name.strip_prefix("$/") {
            return match id {
                Some(id) => Opened::NoMethod(desk.ask(id, self.batch)),
                None => self.notice(&envelope, notice, desk, into),
            };
        }
        let numbered = match id {
            Some(id) => desk.ask(id, self.batch),
            None => desk.number(),
        };
        let meta = match Meta::read(envelope.meta.clone().map(|at| self.part(at)).unwrap_or_default()) {
            Ok(meta) => meta,
            Err(fault) => return Opened::Malformed(numbered, fault),
        };
        let made = match &*name {
            PUBLISH => self.event(&envelope, &meta, (numbered, id.is_none())).map(Message::Event),
            _ => self.call(&envelope, (&name, last), &meta, (numbered, id.is_none())).map(Message::Call),
        };
        match made {
            Ok(message) => {
                if meta.streams.reply && id.is_some() {
                    desk.grant(numbered, false);
                }
                *into = message;
                Opened::Message
            }
            Err(Unmade::Misnamed(error)) => Opened::Misnamed(numbered, error),
            Err(Unmade::Malformed(fault)) => Opened::Malformed(numbered, fault),
        }
    }

    fn call<F>(
        &self,
        envelope: &Envelope,
        (name, last): (&str, &mut Last),
        meta: &Meta,
        (id, one_way): (u64, bool),
    ) -> Result<Call<F>, Unmade> {
        // Before the first call the last one has no name, which is no target.
        if name.is_empty() || *last.method != *name.as_bytes() {
            let routing = routing_to(name).map_err(|error| Unmade::Misnamed(RoutingError::Service(error)))?;
            *last = Last { method: name.as_bytes().into(), routing };
        }
        let routing = match &meta.trace {
            None => last.routing.clone(),
            Some(trace) => with_trace(&mut builder_for(name), trace),
        };
        let (encoding, body) = match envelope.params.clone() {
            Some(params) => self.body(params, Texts::Bytes),
            None => Default::default(),
        };
        let (streams, timeout_ms, caller) = (meta.streams, meta.timeout_ms, Bytes::new());
        Ok(Call { id, one_way, streams, encoding, timeout_ms, caller, routing, body })
    }

    /// `ipc.publish`, which is an event.
    fn event<F>(&self, envelope: &Envelope, meta: &Meta, (id, one_way): (u64, bool)) -> Result<Event<F>, Unmade> {
        let (mut topic, mut body, mut retained) = (None, Default::default(), false);
        let params = envelope.params.clone().filter(|at| self.part(at.clone()).first() == Some(&b'{'));
        let params = params.ok_or(Unmade::Malformed("ipc.publish takes an object: topic, body, retained"))?;
        let mut members = Parts::of(self.part(params.clone()));
        while let Some((name, at)) = members.member() {
            let at = params.start + at.start..params.start + at.end;
            match &*name {
                "topic" => topic = text(self.part(at)),
                "body" => body = self.body(at, Texts::Json),
                "retained" => retained = self.part(at) == b"true",
                _ => {}
            }
        }
        let topic = topic.ok_or(Unmade::Malformed("ipc.publish needs a topic, a text"))?;
        let topic = Topic::parse(&topic).map_err(|error| Unmade::Misnamed(RoutingError::Topic(error)))?;
        let mut routing = Routing::on(topic.as_str());
        let routing = match &meta.trace {
            None => routing.build(),
            Some(trace) => {
                let mut routing = RoutingBuilder::default();
                routing.put(FieldTag::TRACE, trace.as_bytes()).put(FieldTag::TOPIC, topic.as_str().as_bytes()).build()
            }
        };
        let (encoding, body) = body;
        Ok(Event { id, one_way, retained, encoding, publisher: Bytes::new(), routing, body })
    }

    /// A notification of the dialect itself.
    fn notice<F>(&self, envelope: &Envelope, name: &str, desk: &mut Desk, into: &mut Message<F>) -> Opened {
        let Some(params) = envelope.params.clone() else { return Opened::Nothing };
        let (mut call, mut item, mut error) = (None, None, None);
        if self.part(params.clone()).first() != Some(&b'{') {
            return Opened::Nothing;
        }
        let mut members = Parts::of(self.part(params.clone()));
        while let Some((name, at)) = members.member() {
            let at = params.start + at.start..params.start + at.end;
            match &*name {
                "id" => call = desk.find(self.part(at)).map(|id| (id, false)),
                "call" => call = delivered(self.part(at)).map(|id| (id, true)),
                "item" => item = Some(at),
                "error" => error = Some(at),
                _ => {}
            }
        }
        let Some((id, delivered)) = call else { return Opened::Nothing };
        *into = match (name, item) {
            ("cancelRequest", _) if !delivered => {
                Message::Cancel(Cancel { id, reason: ErrorCode::CANCELLED, delivered: None })
            }
            ("item", Some(item)) => {
                let (encoding, body) = self.body(item, Texts::Json);
                Message::Item(Element { id, delivered, encoding, body })
            }
            ("end", _) if !delivered => Message::End(match error {
                None => End::complete(id),
                Some(error) => {
                    let failure: Failure<F> = self.failure(id, error);
                    End { id, error: Some(failure.code), app_code: failure.app_code, text: failure.text }
                }
            }),
            _ => return Opened::Nothing,
        };
        Opened::Message
    }

    /// The answer to a delivered call.
    fn answer<F>(&self, envelope: &Envelope, id: Option<&[u8]>, desk: &mut Desk, into: &mut Message<F>) -> Opened {
        let id = id.and_then(delivered).unwrap_or(0); // the number of no call
        let texts = if desk.end_delivered(id) { Texts::Bytes } else { Texts::Json };
        *into = match (envelope.result.clone(), envelope.error.clone()) {
            (_, Some(error)) => Message::Error(self.failure(id, error)),
            (Some(result), None) => {
                let (encoding, body) = self.body(result, texts);
                Message::Reply(Reply { id, encoding, body })
            }
            (None, None) => return Opened::Nothing,
        };
        Opened::Message
    }

    /// An error object.
    fn failure<F>(&self, id: u64, at: Range<usize>) -> Failure<F> {
        let mut failure = Failure::new(id, ErrorCode::APP_ERROR, "");
        if self.part(at.clone()).first() != Some(&b'{') {
            return failure;
        }
        let mut members = Parts::of(self.part(at.clone()));
        while let Some((name, part)) = members.member() {
            let part = at.start + part.start..at.start + part.end;
            match &*name {
                "code" => {
                    (failure.code, failure.app_code) = code_of(self.part(part));
                    failure.retry = failure.code.retry();
                }
                "message" => failure.text = text(self.part(part)).unwrap_or_default().into_owned(),
                "data" => (failure.encoding, failure.body) = self.body(part, Texts::Json),
                _ => {}
            }
        }
        if failure.retry == Retry::Safe || failure.code != ErrorCode::APP_ERROR {
            failure.body = ipc_protocol::Body::default(); // only an error of the application has a value
        }
        failure
    }

    fn id(&self, envelope: &Envelope) -> Result<Option<&[u8]>, &'static str> {
        let Some(id) = envelope.id.clone().map(|at| self.part(at)) else { return Ok(None) };
        match id.first() {
            Some(b'{' | b'[' | b't' | b'f') => Err("an id is a text, a number or null"),
            _ if id.len() > MAX_ID => Err("an id has at most 256 bytes"),
            _ => Ok(Some(id)),
        }
    }

    fn is_of_version(&self, envelope: &Envelope) -> bool {
        envelope.version.clone().and_then(|at| text(self.part(at))).as_deref() == Some("2.0")
    }

    fn body<F>(&self, at: Range<usize>, texts: Texts) -> (ipc_protocol::Encoding, ipc_protocol::Body<F>) {
        let at = self.at.start + at.start..self.at.start + at.end;
        body::read(self.whole, at, texts, self.is_own)
    }

    /// Bytes of the object.
    fn part(&self, at: Range<usize>) -> &[u8] {
        self.bytes(&self.at).get(at).unwrap_or_default()
    }

    fn bytes(&self, at: &Range<usize>) -> &[u8] {
        self.whole.get(at.clone()).unwrap_or_default()
    }
}

/// Why a call or an event can't be made of an object.
enum Unmade {
    Misnamed(RoutingError),
    Malformed(&'static str),
}

impl Envelope {
    fn read(object: &[u8]) -> Result<Self, &'static str> {
        if object.first() != Some(&b'{') {
            return Err("a request is an object");
        }
        let (mut envelope, mut members) = (Self::default(), Parts::of(object));
        while let Some((name, at)) = members.member() {
            let member = match &*name {
                "jsonrpc" => &mut envelope.version,
                "id" => &mut envelope.id,
                "method" => &mut envelope.method,
                "params" => &mut envelope.params,
                "result" => &mut envelope.result,
                "error" => &mut envelope.error,
                "meta" => &mut envelope.meta,
                _ => continue,
            };
            if member.replace(at).is_some() {
                return Err("a member is there twice");
            }
        }
        if envelope.error.clone().and_then(|at| object.get(at)) == Some(b"null") && envelope.result.is_some() {
            envelope.error = None; // as older peers write a success
        }
        Ok(envelope)
    }
}

impl Meta {
    fn read(meta: &[u8]) -> Result<Self, &'static str> {
        let mut read = Self::default();
        match meta.first() {
            None => return Ok(read),
            Some(b'{') => {}
            Some(_) => return Err("meta is an object"),
        }
        let mut members = Parts::of(meta);
        while let Some((name, at)) = members.member() {
            let value = meta.get(at).unwrap_or_default();
            match &*name {
                "timeout_ms" => {
                    let millis = number(value).ok_or("timeout_ms is a whole number of milliseconds")?;
                    read.timeout_ms = u32::try_from(millis).unwrap_or(u32::MAX);
                }
                "trace" => {
                    let trace = text(value).filter(|trace| trace.len() <= MAX_TRACE);
                    read.trace = Some(trace.ok_or("trace is a text of at most 512 bytes")?.into_owned());
                }
                "stream" => {
                    read.streams = match text(value).as_deref() {
                        Some("request") => Streams { request: true, reply: false },
                        Some("reply") => Streams { request: false, reply: true },
                        Some("both") => Streams { request: true, reply: true },
                        _ => return Err("stream is \"request\", \"reply\" or \"both\""),
                    }
                }
                _ => {}
            }
        }
        Ok(read)
    }
}

/// The agent that the first message of a connection names.
pub(super) fn agent_of(object: &[u8]) -> Option<String> {
    let envelope = Envelope::read(object).ok()?;
    let meta = object.get(envelope.meta?)?;
    let mut members = Parts::of(meta.first().filter(|byte| **byte == b'{').map(|_| meta)?);
    while let Some((name, at)) = members.member() {
        if name == "agent" {
            return Some(text(meta.get(at)?)?.into_owned());
        }
    }
    None
}

/// What the beginning of a message tells of it.
#[derive(Debug, Default)]
pub(super) struct Beginning<'a> {
    /// What it is.
    pub(super) what: What<'a>,
    /// The time that a call has, if that is known; 0 means the default.
    pub(super) timeout_ms: u32,
}

/// What a message is, by its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What<'a> {
    /// A call, or anything else that is refused as one: its id, if that is known.
    Call(Option<&'a [u8]>),
    /// The answer to this delivered call.
    Answer(u64),
    /// An item of the peer's own call with this id.
    OwnItem(&'a [u8]),
    /// An item of this delivered call.
    Item(u64),
}

impl Default for What<'_> {
    fn default() -> Self {
        Self::Call(None)
    }
}

impl<'a> Beginning<'a> {
    pub(super) fn of(start: &'a [u8]) -> Self {
        let mut beginning = Self::default();
        if start.first() != Some(&b'{') {
            return beginning;
        }
        let (mut id, mut is_item, mut members) = (None, false, Parts::of(start));
        while let Some((name, at)) = members.member() {
            let (is_whole, part) = (at.end < start.len(), start.get(at).unwrap_or_default());
            match &*name {
                "id" if is_whole && part.len() <= MAX_ID => id = Some(part),
                "method" => is_item = text(part).as_deref() == Some(ITEM),
                "meta" if is_whole => beginning.timeout_ms = Meta::read(part).map_or(0, |meta| meta.timeout_ms),
                "params" if is_item && id.is_none() => {
                    beginning.what = item_in(part);
                    return beginning;
                }
                "params" => break,
                "result" | "error" => {
                    if let Some(id) = id.and_then(delivered) {
                        beginning.what = What::Answer(id);
                        return beginning;
                    }
                    break;
                }
                _ => {}
            }
        }
        beginning.what = What::Call(id);
        beginning
    }
}

/// Whose item begins with these parameters.
fn item_in(params: &[u8]) -> What<'_> {
    let mut members = Parts::of(params);
    while params.first() == Some(&b'{')
        && let Some((name, at)) = members.member()
    {
        let part = params.get(at).unwrap_or_default();
        match &*name {
            "id" if part.len() <= MAX_ID => return What::OwnItem(part),
            "call" => return delivered(part).map_or(What::default(), What::Item),
            "item" => break,
            _ => {}
        }
    }
    What::default()
}

/// The call with this id, in the broker's numbering.
fn delivered(id: &[u8]) -> Option<u64> {
    number(id.strip_prefix(b"\"").and_then(|id| id.strip_suffix(b"\"")).unwrap_or(id))
}

/// The error of a number in JSON-RPC. One that stands for none is the application's own.
fn code_of(code: &[u8]) -> (ErrorCode, u32) {
    let code: i64 = str::from_utf8(code).ok().and_then(|code| code.parse().ok()).unwrap_or(0);
    let row = ipc_protocol::ERROR_TABLE.iter().find(|row| row.json_rpc.is_some_and(|number| i64::from(number) == code));
    match row {
        Some(row) => (row.code, 0),
        None => (ErrorCode::APP_ERROR, u32::try_from(code).unwrap_or(0)),
    }
}

/// The routing section of a target.
fn routing_to(target: &str) -> Result<Routing, ipc_protocol::InvalidName> {
    Target::parse(target)?;
    Ok(builder_for(target).build())
}

/// That of a target which was parsed before.
fn builder_for(target: &str) -> RoutingBuilder {
    match Target::parse(target) {
        Ok(target) => Routing::to(&target.service(), target.method()),
        Err(_) => RoutingBuilder::default(),
    }
}

fn with_trace(routing: &mut RoutingBuilder, trace: &str) -> Routing {
    routing.put(FieldTag::TRACE, trace.as_bytes()).build()
}

/// The notification that carries an item.
const ITEM: &str = "$/item";
/// The method that publishes an event.
const PUBLISH: &str = "ipc.publish";
/// Most bytes of an id, as they come.
const MAX_ID: usize = 256;
/// Most bytes of a trace context.
const MAX_TRACE: usize = 512;
