//! A call before it is made: everything but its number.

use ipc_protocol::{Encoding, Streams, control};
use serde::Serialize;

use super::ledger::Asked;

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) service: String,
    pub(crate) method: String,
    pub(crate) body: Vec<u8>,
    pub(crate) encoding: Encoding,
    pub(crate) timeout_ms: u32,
    pub(crate) one_way: bool,
    pub(crate) streams: Streams,
    pub(crate) asked: Asked,
}

impl Request {
    /// A call of a method. An empty method is the default one, or the last label of the target.
    pub(crate) fn to(service: &str, method: &str) -> Self {
        Self {
            service: service.to_owned(),
            method: method.to_owned(),
            body: Vec::new(),
            encoding: Encoding::BYTES,
            timeout_ms: 0,
            one_way: false,
            streams: Streams::NONE,
            asked: Asked::Call,
        }
    }

    /// A call of the broker's own service.
    pub(crate) fn ipc(operation: &str, request: &impl Serialize) -> Self {
        let body = serde_json::to_vec(request).expect("requests are plain structs");
        Self { encoding: Encoding::JSON, ..Self::to("ipc", operation).body(&body) }
    }

    pub(crate) fn register(request: &control::Register) -> Self {
        let name = request.name.as_ref().map(ToString::to_string);
        let control::Register { window, shared, streams, .. } = *request;
        Self { asked: Asked::Register { name, window, shared, streams }, ..Self::ipc("register", request) }
    }

    pub(crate) fn unregister(name: Option<&str>) -> Self {
        let request = control::Unregister { name: name.map(|name| name.parse().expect("a good name")) };
        Self { asked: Asked::Unregister { name: name.map(str::to_owned) }, ..Self::ipc("unregister", &request) }
    }

    pub(crate) fn subscribe(request: &control::Subscribe) -> Self {
        let (pattern, last) = (request.pattern.to_string(), request.last);
        Self { asked: Asked::Subscribe { pattern, last }, ..Self::ipc("subscribe", request) }
    }

    pub(crate) fn unsubscribe(number: u64) -> Self {
        let request = control::Unsubscribe { subscription: number };
        Self { asked: Asked::Unsubscribe { number }, ..Self::ipc("unsubscribe", &request) }
    }

    pub(crate) fn lock(request: &control::Lock) -> Self {
        let (name, places) = (request.name.to_string(), request.places);
        Self { asked: Asked::Lock { name, places }, ..Self::ipc("lock", request) }
    }

    pub(crate) fn unlock(name: &str) -> Self {
        let request = control::Unlock { name: name.parse().expect("a good name") };
        Self { asked: Asked::Unlock { name: name.to_owned() }, ..Self::ipc("unlock", &request) }
    }

    pub(crate) fn body(self, body: &[u8]) -> Self {
        Self { body: body.to_vec(), ..self }
    }

    pub(crate) fn within(self, timeout_ms: u32) -> Self {
        Self { timeout_ms, ..self }
    }

    pub(crate) fn one_way(self) -> Self {
        Self { one_way: true, ..self }
    }

    /// The same with its target in one piece, as it is in JSON-RPC.
    pub(crate) fn in_one(self) -> Self {
        match self.method.as_str() {
            "" => self,
            _ if self.service.starts_with('@') => self,
            method => Self { service: format!("{}.{method}", self.service), method: String::new(), ..self },
        }
    }

    /// Items follow the request.
    pub(crate) fn upload(self) -> Self {
        Self { streams: Streams { request: true, ..self.streams }, ..self }
    }

    /// Items come before the answer.
    pub(crate) fn download(self) -> Self {
        Self { streams: Streams { reply: true, ..self.streams }, ..self }
    }
}
