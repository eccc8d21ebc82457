//! What a service says of itself: its methods, their types and what they are for.

use std::collections::BTreeMap;

use bytes::Bytes;
use ipc_protocol::{Encoding, Fingerprint, Message, MethodName, Reply};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    contract::Contract,
    shape::{Shape, Type},
};

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
    /// Its name as people read it; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// What it does; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// What a call of it does to the world.
    #[serde(skip_serializing_if = "Hints::are_none")]
    pub hints: Hints,
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

/// What a call of a method does to the world, as far as the service says so. It is for those who decide whether a person is to be asked
/// before a call, and no more than a promise: the broker doesn't know of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Hints {
    /// It changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// It may remove or overwrite something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destructive: Option<bool>,
    /// A second call with the same request changes nothing more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// It deals with things beyond those that the service keeps, such as the web.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_world: Option<bool>,
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

/// All that a service tells of itself: to the broker, and to who asks.
#[derive(Debug)]
pub(crate) struct Said {
    /// Of the methods that are answered, as far as they are known, and as far as a registration has room for them.
    pub(crate) names: Vec<MethodName>,
    /// None if there is nothing to say.
    pub(crate) description: Option<EncodedDescription>,
}

impl Said {
    /// What is said of the methods, and what was traced of them.
    pub(crate) fn of(description: Description, traced: BTreeMap<MethodName, MethodDescription>) -> Self {
        let whole = description.completed(traced);
        let description = whole.encoded();
        let names: Vec<MethodName> = whole.methods.into_keys().collect();
        // Without any the service may answer all names, which holds for too many of them; a part would deny the others.
        let fit = names.iter().map(|name| name.as_str().len() + 1).sum::<usize>() <= MOST_NAMES;
        Self { names: if fit { names } else { Vec::new() }, description }
    }
}

impl EncodedDescription {
    /// The reply to who asks for it.
    pub(crate) fn answer(&self, id: u64) -> Message {
        Message::Reply(Reply { id, encoding: Encoding::JSON, body: self.json.clone().into() })
    }
}

impl Description {
    /// With what was traced of the methods.
    fn completed(mut self, traced: BTreeMap<MethodName, MethodDescription>) -> Self {
        // What can't be traced, and isn't said, is there all the same: it isn't nothing.
        let known = |traced: Option<Type>, said| traced.or(said).or_else(|| Some(Type::plain(Shape::Any)));
        for (name, traced) in traced {
            let said = self.methods.remove(&name).unwrap_or_default();
            let method = MethodDescription {
                title: said.title,
                about: said.about,
                hints: said.hints,
                one_way: said.one_way,
                example: said.example,
                request: known(traced.request, said.request),
                reply: known(traced.reply, said.reply),
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
    fn encoded(&self) -> Option<EncodedDescription> {
        if *self == Self::default() {
            return None;
        }
        let json: Bytes = serde_json::to_vec(self).ok()?.into();
        Some(EncodedDescription { fingerprint: Fingerprint::of(&json), json })
    }
}

impl Hints {
    /// Whether nothing is said.
    #[must_use]
    pub fn are_none(&self) -> bool {
        *self == Self::default()
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

/// Bytes of a registration's names of methods, counting one more for each.
const MOST_NAMES: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(u8),
    }

    impl crate::Method for Either {
        const SERVICE: &'static str = "odd";
        const METHOD: &'static str = "f";
        type Reply = String;
        type Error = std::convert::Infallible;
    }

    #[test]
    fn a_request_that_cannot_be_traced_is_any_and_not_nothing_unless_the_service_says_more() {
        let name = MethodName::parse("f").unwrap();
        let traced = BTreeMap::from([(name.clone(), MethodDescription::of_contract(Contract::of::<Either>()))]);
        let unsaid = Description::default().completed(traced.clone()).methods.remove(&name).unwrap();
        assert_eq!((unsaid.request, unsaid.fingerprint), (Some(Type::plain(Shape::Any)), None));
        assert_eq!(unsaid.reply, Some(Type::plain(Shape::Str)));

        let request = Some(Type::plain(Shape::U8));
        let said = MethodDescription { request: request.clone(), ..MethodDescription::default() };
        let said = Description { methods: BTreeMap::from([(name.clone(), said)]), ..Description::default() };
        assert_eq!(said.completed(traced).methods.remove(&name).unwrap().request, request);
    }
}
