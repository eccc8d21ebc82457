//! A JSON Schema from elsewhere, and the fields that it names.

use serde_json::{Map, Value};

use super::{Field, JsonSchema, Shape, Type};

impl Type {
    /// What fits a JSON Schema.
    #[must_use]
    pub fn of_schema(schema: Value) -> Self {
        Self::plain(Shape::Schema(Box::new(JsonSchema::new(schema))))
    }
}

impl JsonSchema {
    /// What `value` says.
    #[must_use]
    pub fn new(value: Value) -> Self {
        Self::within(value, 0)
    }

    /// The schema as it came.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The fields of an object that fits it, in its order; none if it isn't that of a plain object. A field whose schema says more
    /// than a type is [`Shape::Any`].
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Whether an object has no other fields than those that are named.
    pub(super) fn is_closed(&self) -> bool {
        is_object(&self.value) && self.value.get("additionalProperties") == Some(&Value::Bool(false))
    }

    /// Whether it is that of an object without fields.
    pub(super) fn is_empty(&self) -> bool {
        let names_none = self.value.get("properties").and_then(Value::as_object).is_some_and(Map::is_empty);
        is_object(&self.value) && self.fields.is_empty() && (self.is_closed() || names_none)
    }

    fn within(value: Value, depth: u32) -> Self {
        let properties = value.get("properties").and_then(Value::as_object);
        let properties = properties.filter(|_| is_object(&value) && depth < DEEPEST);
        let required = value.get("required").and_then(Value::as_array);
        let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|known| known == name));
        let field = |(name, schema): (&String, &Value)| {
            let shape = match shape(schema, depth + 1) {
                shape @ Shape::Option(_) => shape,
                shape if is_required(name) => shape,
                shape => Shape::Option(Box::new(shape)),
            };
            let about = schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
            Field { name: name.clone(), shape, about }
        };
        let fields = properties.into_iter().flatten().map(field).collect();
        Self { value, fields }
    }
}

impl From<Value> for JsonSchema {
    fn from(value: Value) -> Self {
        Self::new(value)
    }
}

impl From<JsonSchema> for Value {
    fn from(schema: JsonSchema) -> Self {
        schema.value
    }
}

/// What a schema stands for, as far as it is a type and no more.
fn shape(schema: &Value, depth: u32) -> Shape {
    if ALTERNATIVES.iter().any(|word| schema.get(word).is_some()) {
        return Shape::Any;
    }
    match schema.get("type") {
        Some(Value::String(name)) => named(name, schema, depth),
        // One that may be null.
        Some(Value::Array(names)) => match names.as_slice() {
            [Value::String(name), null] | [null, Value::String(name)] if null == "null" && name != "null" => {
                Shape::Option(Box::new(named(name, schema, depth)))
            }
            _ => Shape::Any,
        },
        _ => Shape::Any,
    }
}

fn named(name: &str, schema: &Value, depth: u32) -> Shape {
    match name {
        "string" => Shape::Str,
        "integer" => Shape::I64,
        "number" => Shape::F64,
        "boolean" => Shape::Bool,
        "null" => Shape::Unit,
        "array" if depth < DEEPEST => {
            Shape::List(Box::new(schema.get("items").map_or(Shape::Any, |items| shape(items, depth + 1))))
        }
        "object" if depth < DEEPEST => match JsonSchema::within(schema.clone(), depth) {
            object if object.fields.is_empty() => Shape::Any,
            object => Shape::Schema(Box::new(object)),
        },
        _ => Shape::Any,
    }
}

fn is_object(schema: &Value) -> bool {
    schema.get("type").is_some_and(|kind| kind == "object")
        && !ALTERNATIVES.iter().any(|word| schema.get(word).is_some())
}

/// Words with which a schema is more than a type.
const ALTERNATIVES: [&str; 7] = ["oneOf", "anyOf", "allOf", "if", "not", "const", "$ref"];
/// Levels that are spelled out: a person reads no more.
const DEEPEST: u32 = 8;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(schema: Value) -> String {
        Shape::Schema(Box::new(JsonSchema::new(schema))).to_string()
    }

    #[test]
    fn a_plain_object_has_fields() {
        let schema = json!({
            "type": "object",
            "properties": {
                "path": { "type": "string", "description": "which file" },
                "lines": { "type": "array", "items": { "type": "integer" } },
                "at": { "type": "object", "properties": { "x": { "type": "number" } }, "required": ["x"] },
                "mode": { "type": ["string", "null"] },
                "other": { "anyOf": [] },
            },
            "required": ["path", "mode", "other"],
        });
        let request = Type::of_schema(schema.clone());
        let fields: Vec<String> = request.named_fields().iter().map(ToString::to_string).collect();
        let mut sorted = fields.clone();
        sorted.sort();
        assert_eq!(sorted, ["at: {x: f64}?", "lines: [i64]?", "mode: string?", "other: any", "path: string"]);
        assert!(request.named_fields().iter().any(|field| field.about == "which file"));
        assert_eq!(request.json_schema(), schema, "it stays as it came");
        let sent = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Type>(&sent).unwrap(), request);
    }

    #[test]
    fn what_is_no_plain_object_is_told_as_such() {
        assert_eq!(told(json!({ "type": "object", "properties": {} })), "nothing");
        assert_eq!(told(json!({ "type": "object", "additionalProperties": false })), "nothing");
        for other in [json!({ "type": "object" }), json!({ "type": "string" }), json!(true), json!({ "anyOf": [] })] {
            assert_eq!(told(other), "any (see -o json)");
        }
    }

    #[test]
    fn names_are_checked_where_others_may_not_be() {
        let schema = |closed: bool| {
            let inner =
                json!({ "type": "object", "properties": { "x": { "type": "number" } }, "additionalProperties": false });
            json!({ "type": "object", "properties": { "a": inner }, "additionalProperties": !closed })
        };
        let check = |closed: bool, value: Value| Type::of_schema(schema(closed)).check_names(&value).err();
        assert_eq!(check(true, json!({ "b": 1 })).unwrap().known, ["a"]);
        assert_eq!(check(false, json!({ "b": 1 })), None);
        assert_eq!(check(false, json!({ "a": { "y": 1 } })).unwrap().path(), "a.y");
    }

    #[test]
    fn a_schema_without_end_ends() {
        let mut schema = json!({ "type": "string" });
        for _ in 0..100 {
            schema = json!({ "type": "object", "properties": { "a": schema }, "required": ["a"] });
        }
        assert!(told(schema).contains("any"));
    }
}
