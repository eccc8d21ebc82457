//! Types of a method as the schemas of a tool: clients want an object at the root, without alternatives there, and local references alone.

use ipc_client::Type;
use serde_json::{Map, Value, json};

/// How the arguments of a tool become the body of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arguments {
    /// They are the body.
    Whole,
    /// Their member `request` is.
    Request,
    /// There are none; the body is `null`.
    None,
    /// Their member `input`, a text, is: as bytes.
    Input,
}

/// How a reply becomes the structured content of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Structure {
    /// There is none.
    None,
    /// It is the reply.
    Whole,
    /// Its member `result` is.
    Result,
    /// Its member `result` is, which is a text: bytes of UTF-8 will do.
    Text,
}

/// What a tool takes.
pub(super) fn of_request(request: Option<&Type>) -> (Value, Arguments) {
    let Some(request) = request else { return (input(), Arguments::Input) };
    let schema = local(request.json_schema());
    if schema.get("type") == Some(&json!("null")) {
        return (json!({ "type": "object", "additionalProperties": false }), Arguments::None);
    }
    if is_plain_object(&schema) {
        return (schema, Arguments::Whole);
    }
    (wrapped(schema, "request"), Arguments::Request)
}

/// What a tool answers, where that is known.
pub(super) fn of_reply(reply: Option<&Type>) -> (Option<Value>, Structure) {
    let Some(reply) = reply else { return (None, Structure::None) };
    let schema = local(reply.json_schema());
    if schema.get("type") == Some(&json!("null")) || schema.as_object().is_some_and(Map::is_empty) {
        return (None, Structure::None);
    }
    if is_plain_object(&schema) {
        return (Some(schema), Structure::Whole);
    }
    let structure = if schema.get("type") == Some(&json!("string")) { Structure::Text } else { Structure::Result };
    (Some(wrapped(schema, "result")), structure)
}

/// The schema of a tool about which nothing is known.
fn input() -> Value {
    json!({
        "type": "object",
        "properties": { "input": { "type": "string", "description": "the body of the call" } },
        "required": ["input"],
        "additionalProperties": false,
    })
}

fn is_plain_object(schema: &Value) -> bool {
    let Value::Object(members) = schema else { return false };
    members.get("type") == Some(&json!("object")) && !ALTERNATIVES.iter().any(|word| members.contains_key(*word))
}

/// The schema of an object with one member. Definitions stay at the root, where references look for them.
fn wrapped(mut schema: Value, member: &str) -> Value {
    let below = format!("#/properties/{member}");
    each_reference(&mut schema, 0, &mut |reference| {
        let rest = reference.strip_prefix('#')?;
        let is_definition = DEFINITIONS.iter().any(|word| rest.starts_with(&format!("/{word}/")));
        Some(if is_definition { reference.to_owned() } else { format!("{below}{rest}") })
    });
    let mut outer = Map::new();
    if let Some(members) = schema.as_object_mut() {
        for word in DEFINITIONS {
            outer.extend(members.remove(word).map(|definitions| (word.to_owned(), definitions)));
        }
        outer.extend(members.remove("$schema").map(|dialect| ("$schema".to_owned(), dialect)));
    }
    outer.insert("type".to_owned(), json!("object"));
    outer.insert("properties".to_owned(), json!({ member: schema }));
    outer.insert("required".to_owned(), json!([member]));
    outer.insert("additionalProperties".to_owned(), json!(false));
    Value::Object(outer)
}

/// Without references to elsewhere: what they stand for may be anything. A schema that isn't an object stands for anything, too.
fn local(mut schema: Value) -> Value {
    if !schema.is_object() {
        return json!({});
    }
    each_reference(&mut schema, 0, &mut |reference| reference.starts_with('#').then(|| reference.to_owned()));
    schema
}

/// Replaces references, or removes them. A member of that name may be a property, whose value is no text.
fn each_reference(value: &mut Value, depth: u32, change: &mut impl FnMut(&str) -> Option<String>) {
    if depth > DEEPEST {
        *value = json!({});
        return;
    }
    match value {
        Value::Object(members) => {
            for word in REFERENCES {
                let Some(Value::String(reference)) = members.get(word) else { continue };
                match change(reference) {
                    Some(other) => drop(members.insert(word.to_owned(), Value::String(other))),
                    None => drop(members.remove(word)),
                }
            }
            members.values_mut().for_each(|value| each_reference(value, depth + 1, change));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| each_reference(value, depth + 1, change)),
        _ => {}
    }
}

const ALTERNATIVES: [&str; 8] = ["oneOf", "anyOf", "allOf", "if", "not", "enum", "const", "$ref"];
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];
const REFERENCES: [&str; 2] = ["$ref", "$dynamicRef"];
/// As deep as JSON is read.
const DEEPEST: u32 = 128;

#[cfg(test)]
mod tests {
    use ipc_client::{Field, Shape};

    use super::*;

    fn schema(schema: Value) -> Type {
        Type::of_schema(schema)
    }

    #[test]
    fn an_object_stays_as_it_is() {
        let request = Type::fields(vec![Field::new("a", Shape::I64)]);
        let (schema, arguments) = of_request(Some(&request));
        assert_eq!((schema["properties"]["a"]["type"].clone(), arguments), (json!("integer"), Arguments::Whole));
        assert_eq!(of_reply(Some(&request)).1, Structure::Whole);
    }

    #[test]
    fn anything_else_becomes_a_member_of_one() {
        let choice = json!({ "oneOf": [{ "$ref": "#/$defs/A" }, { "$ref": "#/oneOf/0" }], "$defs": { "A": {} } });
        let (schema, arguments) = of_request(Some(&self::schema(choice)));
        let expected = json!({
            "type": "object",
            "properties": { "request": { "oneOf": [{ "$ref": "#/$defs/A" }, { "$ref": "#/properties/request/oneOf/0" }] } },
            "required": ["request"],
            "additionalProperties": false,
            "$defs": { "A": {} },
        });
        assert_eq!((schema, arguments), (expected, Arguments::Request));
    }

    #[test]
    fn nothing_takes_no_arguments_and_an_unknown_request_is_a_text() {
        let (nothing, arguments) = of_request(Some(&Type::plain(Shape::Unit)));
        assert_eq!(nothing, json!({ "type": "object", "additionalProperties": false }));
        assert_eq!(arguments, Arguments::None);
        assert_eq!(of_request(None).1, Arguments::Input);
    }

    #[test]
    fn references_to_elsewhere_go() {
        let remote = json!({ "type": "object", "properties": { "a": { "$ref": "https://example.org/a.json" } } });
        assert_eq!(of_request(Some(&schema(remote))).0["properties"]["a"], json!({}));
        let property = json!({ "type": "object", "properties": { "$ref": { "type": "string" } } });
        assert_eq!(of_request(Some(&schema(property.clone()))).0, property);
    }

    #[test]
    fn a_reply_that_is_no_object_is_the_member_result() {
        let (schema, structure) = of_reply(Some(&Type::plain(Shape::I64)));
        assert_eq!(schema.unwrap()["properties"]["result"], json!({ "type": "integer" }));
        assert_eq!(structure, Structure::Result);
        assert_eq!(of_reply(Some(&Type::plain(Shape::Str))).1, Structure::Text);
        assert_eq!(of_reply(Some(&Type::plain(Shape::Unit))), (None, Structure::None));
        assert_eq!(of_reply(Some(&Type::plain(Shape::Any))), (None, Structure::None));
        assert_eq!(of_reply(None), (None, Structure::None));
    }
}
