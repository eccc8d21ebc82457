//! A shape as JSON Schema (draft 2020-12): what its JSON form must be.

use serde_json::{Map, Value, json};

use super::{Composition, Field, Shape, Type, Variant};

impl Type {
    /// The JSON Schema of a value of this type. Named types stand in `$defs`; all references are local.
    #[must_use]
    pub fn json_schema(&self) -> Value {
        let mut schema = match &self.shape {
            // The outermost type stands at the root itself: readers want an object there.
            Shape::Type(name) => self.types.get(name).map_or_else(|| json!({}), composition),
            shape => of(shape),
        };
        let used = self.types.iter().filter(|(name, _)| !matches!(&self.shape, Shape::Type(root) if root == *name));
        let mut definitions: Map<String, Value> = used.map(|(name, it)| (name.clone(), composition(it))).collect();
        if let Shape::Type(root) = &self.shape
            && mentions(&schema, &definitions, root)
            && let Some(itself) = self.types.get(root)
        {
            definitions.insert(root.clone(), composition(itself));
        }
        if let (Some(schema), false) = (schema.as_object_mut(), definitions.is_empty()) {
            schema.insert("$defs".to_owned(), Value::Object(definitions));
        }
        schema
    }
}

/// Whether a type refers to itself.
fn mentions(schema: &Value, definitions: &Map<String, Value>, name: &str) -> bool {
    let reference = Value::String(reference(name));
    let mut waiting: Vec<&Value> = definitions.values().chain([schema]).collect();
    while let Some(value) = waiting.pop() {
        match value {
            Value::Object(members) if members.get("$ref") == Some(&reference) => return true,
            Value::Object(members) => waiting.extend(members.values()),
            Value::Array(values) => waiting.extend(values),
            _ => {}
        }
    }
    false
}

fn reference(name: &str) -> String {
    format!("#/$defs/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn of(shape: &Shape) -> Value {
    match shape {
        Shape::Never => json!({ "not": {} }),
        Shape::Unit => json!({ "type": "null" }),
        Shape::Bool => json!({ "type": "boolean" }),
        Shape::I8 => integer(i8::MIN.into(), i8::MAX.into()),
        Shape::I16 => integer(i16::MIN.into(), i16::MAX.into()),
        Shape::I32 => integer(i32::MIN.into(), i32::MAX.into()),
        Shape::U8 => integer(0, u8::MAX.into()),
        Shape::U16 => integer(0, u16::MAX.into()),
        Shape::U32 => integer(0, u32::MAX.into()),
        // Readers whose numbers are doubles can't hold the bounds of the wide ones.
        Shape::I64 | Shape::I128 => json!({ "type": "integer" }),
        Shape::U64 | Shape::U128 => json!({ "type": "integer", "minimum": 0 }),
        Shape::F32 | Shape::F64 => json!({ "type": "number" }),
        Shape::Char => json!({ "type": "string", "minLength": 1, "maxLength": 1 }),
        Shape::Str => json!({ "type": "string" }),
        Shape::Bytes => list(integer(0, u8::MAX.into())),
        Shape::Any => json!({}),
        Shape::Schema(schema) => schema.value().clone(),
        Shape::Option(inner) => match of(inner) {
            Value::Object(mut members) if members.get("type").is_some_and(Value::is_string) => {
                let kind = members.remove("type").unwrap_or_default();
                members.insert("type".to_owned(), json!([kind, "null"]));
                Value::Object(members)
            }
            inner => json!({ "anyOf": [inner, { "type": "null" }] }),
        },
        Shape::List(item) => list(of(item)),
        Shape::Map(entry) => json!({ "type": "object", "additionalProperties": of(&entry.1) }),
        Shape::Tuple(shapes) => tuple(shapes),
        Shape::Array(item, len) => {
            json!({ "type": "array", "items": of(item), "minItems": len, "maxItems": len })
        }
        Shape::Type(name) => json!({ "$ref": reference(name) }),
    }
}

fn composition(composition: &Composition) -> Value {
    match composition {
        Composition::Unit => of(&Shape::Unit),
        Composition::Newtype(inner) => of(inner),
        Composition::Tuple(shapes) => tuple(shapes),
        Composition::Struct(fields) => object(fields),
        Composition::Enum(variants) if variants.iter().all(|variant| variant.holds == Composition::Unit) => {
            let names: Vec<&str> = variants.iter().map(|variant| variant.name.as_str()).collect();
            json!({ "type": "string", "enum": names })
        }
        Composition::Enum(variants) => json!({ "oneOf": variants.iter().map(variant).collect::<Vec<_>>() }),
    }
}

fn variant(variant: &Variant) -> Value {
    match &variant.holds {
        Composition::Unit => json!({ "const": variant.name }),
        holds => json!({
            "type": "object",
            "properties": { &variant.name: composition(holds) },
            "required": [variant.name],
            "additionalProperties": false,
        }),
    }
}

fn object(fields: &[Field]) -> Value {
    let property = |field: &Field| {
        let mut schema = of(&field.shape);
        if let (Some(members), false) = (schema.as_object_mut(), field.about.is_empty()) {
            members.insert("description".to_owned(), json!(field.about));
        }
        (field.name.clone(), schema)
    };
    let is_required = |field: &&Field| !matches!(field.shape, Shape::Option(_));
    let properties: Map<String, Value> = fields.iter().map(property).collect();
    let required: Vec<&str> = fields.iter().filter(is_required).map(|field| field.name.as_str()).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if let (Some(members), false) = (schema.as_object_mut(), required.is_empty()) {
        members.insert("required".to_owned(), json!(required));
    }
    schema
}

fn tuple(shapes: &[Shape]) -> Value {
    let parts: Vec<Value> = shapes.iter().map(of).collect();
    json!({ "type": "array", "prefixItems": parts, "minItems": shapes.len(), "maxItems": shapes.len() })
}

fn list(item: Value) -> Value {
    let mut schema = json!({ "type": "array" });
    if let Some(members) = schema.as_object_mut() {
        members.insert("items".to_owned(), item);
    }
    schema
}

fn integer(minimum: i64, maximum: i64) -> Value {
    json!({ "type": "integer", "minimum": minimum, "maximum": maximum })
}
