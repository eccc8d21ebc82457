//! What a service says of itself: its methods, their types and what they are for.

use std::collections::BTreeMap;

use bytes::Bytes;
use ipc_protocol::{Encoding, Fingerprint, Message, MethodName, Reply};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{contract::Contract, shape::Type};

/// A service in its own words. A service of this library answers the method [`DESCRIBE`](crate::DESCRIBE) with it, as JSON; the broker knows only
/// its fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Description {
    /// What the service is for; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Its methods, by name; the default method has the empty name.
    pub methods: BTreeMap<MethodName, MethodDescription>,
    /// What it publishes, by topic.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub events: BTreeMap<String, EventDescription>,
}

/// A method in its own words. A type that isn't there isn't known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct MethodDescription {
    /// What it does; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// What it is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Type>,
    /// What it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<Type>,
    /// How it says no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Type>,
    /// The items that it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload: Option<Type>,
    /// The items that it sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download: Option<Type>,
    /// Whether it answers nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub one_way: bool,
    /// What a call in bincode must carry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// A request that shows how it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<Value>,
}

/// A topic in its publisher's words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct EventDescription {
    /// What happened; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// What an event says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Type>,
}

/// A description as it is sent.
#[derive(Debug)]
pub(crate) struct EncodedDescription {
    pub(crate) json: Bytes,
    pub(crate) fingerprint: Fingerprint,
}

impl EncodedDescription {
    /// The reply to who asks for it.
    pub(crate) fn answer(&self, id: u64) -> Message {
        Message::Reply(Reply { id, encoding: Encoding::JSON, body: self.json.clone().into() })
    }
}

impl Description {
    /// With what was traced of the methods.
    pub(crate) fn completed(mut self, traced: BTreeMap<MethodName, MethodDescription>) -> Self {
        for (name, traced) in traced {
            let said = self.methods.remove(&name).unwrap_or_default();
            let method = MethodDescription {
                about: said.about,
                one_way: said.one_way,
                example: said.example,
                request: traced.request.or(said.request),
                reply: traced.reply.or(said.reply),
                error: traced.error.or(said.error),
                upload: traced.upload.or(said.upload),
                download: traced.download.or(said.download),
                fingerprint: traced.fingerprint,
            };
            self.methods.insert(name, method);
        }
        self
    }

    /// As it is sent; none if there is nothing to say.
    pub(crate) fn encoded(&self) -> Option<EncodedDescription> {
        if *self == Self::default() {
            return None;
        }
        let json: Bytes = serde_json::to_vec(self).ok()?.into();
        Some(EncodedDescription { fingerprint: Fingerprint::of(&json), json })
    }
}

impl MethodDescription {
    pub(crate) fn of_contract(contract: Contract) -> Self {
        let Contract { request, reply, error, upload, download, fingerprint, .. } = contract;
        Self { request, reply, error, upload, download, fingerprint, ..Self::default() }
    }

    /// The JSON Schemas of the method's types: an object with a member for each that is known.
    #[must_use]
    pub fn json_schemas(&self) -> Value {
        let parts = [
            ("request", &self.request),
            ("reply", &self.reply),
            ("error", &self.error),
            ("upload", &self.upload),
            ("download", &self.download),
        ];
        let mut schemas = json!({});
        for (name, shape) in parts {
            if let (Some(shape), Some(members)) = (shape, schemas.as_object_mut()) {
                members.insert(name.to_owned(), shape.json_schema());
            }
        }
        schemas
    }
}
