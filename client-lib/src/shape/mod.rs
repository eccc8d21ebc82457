//! What a value is made of, as serde sees it: enough to read a bincode body without the type, to compare two builds of a type,
//! and to write a JSON Schema.

mod check;
mod json_schema;
mod read;
mod schema;
mod text;
mod trace;
mod write;

use std::collections::BTreeMap;

use ipc_protocol::limits::MAX_NAME;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

pub use self::check::Mismatch;

/// What a value is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Shape {
    /// No value at all: the error of a method that never says no.
    Never,
    /// No value: `null` in JSON, nothing in bincode.
    Unit,
    /// `true` or `false`.
    Bool,
    /// A signed integer of 8 bits.
    I8,
    /// A signed integer of 16 bits.
    I16,
    /// A signed integer of 32 bits.
    I32,
    /// A signed integer of 64 bits.
    I64,
    /// A signed integer of 128 bits.
    I128,
    /// An integer of 8 bits.
    U8,
    /// An integer of 16 bits.
    U16,
    /// An integer of 32 bits.
    U32,
    /// An integer of 64 bits.
    U64,
    /// An integer of 128 bits.
    U128,
    /// A floating-point number of 32 bits.
    F32,
    /// A floating-point number of 64 bits.
    F64,
    /// One Unicode scalar value.
    Char,
    /// A text.
    Str,
    /// Bytes: a list of numbers in JSON.
    Bytes,
    /// Any JSON value; bincode has no such thing.
    Any,
    /// A JSON value that fits a JSON Schema, from a service that describes itself in those.
    Schema(Box<JsonSchema>),
    /// A value or none.
    Option(Box<Shape>),
    /// Any number of values.
    List(Box<Shape>),
    /// Keys and values.
    Map(Box<(Shape, Shape)>),
    /// One value of each.
    Tuple(Vec<Shape>),
    /// A fixed number of values.
    Array(Box<Shape>, u32),
    /// One of the named types.
    Type(String),
}

/// What a named type is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Composition {
    /// No value.
    Unit,
    /// Another value under a name of its own.
    Newtype(Shape),
    /// Fields without names.
    Tuple(Vec<Shape>),
    /// Fields with names.
    Struct(Vec<Field>),
    /// One of several variants; bincode writes their places in this list.
    Enum(Vec<Variant>),
}

/// A field with a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Field {
    /// The name, at most 255 bytes when it is read.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// What it holds.
    pub shape: Shape,
    /// What it means, for people; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
}

/// A variant of an enum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Variant {
    /// The name, at most 255 bytes when it is read.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// What it holds; never an enum itself.
    pub holds: Composition,
}

/// A JSON Schema. It is kept as it came; of a plain object it is known, too, which fields it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "serde_json::Value", into = "serde_json::Value")]
pub struct JsonSchema {
    value: serde_json::Value,
    fields: Vec<Field>,
}

/// The shape of a type, and of all the named types in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Type {
    /// The value itself.
    pub shape: Shape,
    /// The types that it names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, Composition>,
}

impl Type {
    /// A type without named types in it.
    #[must_use]
    pub fn plain(shape: Shape) -> Self {
        Self { shape, types: BTreeMap::new() }
    }

    /// A struct of these fields, under the name `Request`.
    #[must_use]
    pub fn fields(fields: Vec<Field>) -> Self {
        let name = "Request".to_owned();
        Self { shape: Shape::Type(name.clone()), types: BTreeMap::from([(name, Composition::Struct(fields))]) }
    }

    /// The named fields of a value of this type, in order; none if it isn't a struct. Those of a JSON Schema are the ones that it names.
    #[must_use]
    pub fn named_fields(&self) -> &[Field] {
        let mut shape = &self.shape;
        for _ in 0..MAX_DEPTH {
            match shape {
                Shape::Type(name) => match self.types.get(name) {
                    Some(Composition::Struct(fields)) => return fields,
                    Some(Composition::Newtype(inner)) => shape = inner,
                    _ => break,
                },
                Shape::Schema(schema) => return schema.fields(),
                _ => break,
            }
        }
        &[]
    }
}

impl Field {
    /// A field without a text.
    #[must_use]
    pub fn new(name: impl Into<String>, shape: Shape) -> Self {
        Self { name: name.into(), shape, about: String::new() }
    }
}

/// A name in a description, no longer than that of a service. A value of few bytes may hold it many times, so that a long one costs its reader memory.
fn name<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    let name = String::deserialize(source)?;
    match name.len() {
        ..=MAX_NAME => Ok(name),
        len => Err(D::Error::custom(format!("a name of {len} bytes, at most {MAX_NAME} are read"))),
    }
}

/// Levels of a value that are followed: as many as the JSON reader takes. A shape from a peer may name itself.
const MAX_DEPTH: u32 = 128;

#[cfg(test)]
mod tests;
