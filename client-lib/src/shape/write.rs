//! From JSON to a bincode body, by the shape alone.

use std::collections::BTreeMap;

use ipc_protocol::{
    Encoding,
    codec::{self, CodecError},
};
use serde::{
    Serialize, Serializer,
    ser::{Error, SerializeMap, SerializeTuple, SerializeTupleVariant},
};
use serde_json::Value;

use super::{Composition, Field, MAX_DEPTH, Shape, Type, Variant};

impl Type {
    /// Writes a JSON value as bincode, as the type itself would be written. Fields may be named or in order; an option that is
    /// missing is none.
    ///
    /// # Errors
    /// [`CodecError::Encode`] if the value isn't of this type.
    pub fn to_bincode(&self, value: &Value) -> Result<Vec<u8>, CodecError> {
        codec::encode(Encoding::BINCODE, &Shaped::outermost(self, value))
    }
}

/// A JSON value that is to be written as a shape.
struct Shaped<'a> {
    shape: &'a Shape,
    value: &'a Value,
    types: &'a BTreeMap<String, Composition>,
    depth: u32,
    /// Whether it is the key of a JSON object, in which numbers and truth values are texts.
    is_key: bool,
}

impl<'a> Shaped<'a> {
    fn outermost(of: &'a Type, value: &'a Value) -> Self {
        Self { shape: &of.shape, value, types: &of.types, depth: 0, is_key: false }
    }

    /// What is inside a key is the key itself: there are no lists nor objects in one.
    fn inner(&self, shape: &'a Shape, value: &'a Value) -> Self {
        Self { shape, value, depth: self.depth + 1, ..*self }
    }

    fn wrong<E: Error>(&self, expected: &str) -> E {
        let mut found = self.value.to_string();
        if found.len() > 40 {
            found = found.chars().take(40).chain("...".chars()).collect();
        }
        E::custom(format!("expected {expected}, found {found}"))
    }

    fn integer<T: TryFrom<i128>, E: Error>(&self, expected: &str) -> Result<T, E> {
        let number: Option<i128> = match self.value {
            Value::Number(number) => number.to_string().parse().ok(),
            Value::String(text) if self.is_key => text.parse().ok(),
            _ => None,
        };
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| self.wrong(expected))
    }

    fn list<E: Error>(&self) -> Result<&'a Vec<Value>, E> {
        self.value.as_array().ok_or_else(|| self.wrong("a list"))
    }

    fn bytes<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let bytes = self.list()?.iter().map(|value| self.inner(&Shape::U8, value).integer("a byte"));
        out.serialize_bytes(&bytes.collect::<Result<Vec<u8>, _>>()?)
    }

    fn map<S: Serializer>(&self, out: S, key: &'a Shape, value: &'a Shape) -> Result<S::Ok, S::Error> {
        let members = self.value.as_object().ok_or_else(|| self.wrong("an object"))?;
        let mut out = out.serialize_map(Some(members.len()))?;
        for (name, member) in members {
            let name = Value::String(name.clone());
            let name = Shaped { shape: key, value: &name, types: self.types, depth: self.depth + 1, is_key: true };
            out.serialize_entry(&name, &self.inner(value, member))?;
        }
        out.end()
    }

    fn array<S: Serializer>(&self, out: S, item: &'a Shape, len: u32) -> Result<S::Ok, S::Error> {
        let values = self.list()?;
        if u32::try_from(values.len()) != Ok(len) {
            return Err(self.wrong(&format!("a list of {len}")));
        }
        let mut out = out.serialize_tuple(values.len())?;
        for value in values {
            out.serialize_element(&self.inner(item, value))?;
        }
        out.end()
    }

    fn named<S: Serializer>(&self, out: S, name: &str) -> Result<S::Ok, S::Error> {
        match self.types.get(name) {
            Some(Composition::Unit) => out.serialize_unit(),
            Some(Composition::Newtype(inner)) => self.inner(inner, self.value).serialize(out),
            Some(Composition::Tuple(shapes)) => self.tuple(out, shapes),
            Some(Composition::Struct(fields)) => self.structure(out, fields),
            Some(Composition::Enum(variants)) => self.variant(out, variants),
            None => Err(S::Error::custom(format!("the shape names {name}, which isn't described"))),
        }
    }

    fn tuple<S: Serializer>(&self, out: S, shapes: &'a [Shape]) -> Result<S::Ok, S::Error> {
        let values = self.list()?;
        if values.len() != shapes.len() {
            return Err(self.wrong(&format!("a list of {}", shapes.len())));
        }
        let mut out = out.serialize_tuple(shapes.len())?;
        for (shape, value) in shapes.iter().zip(values) {
            out.serialize_element(&self.inner(shape, value))?;
        }
        out.end()
    }

    /// The values of fields, in the order of the fields.
    fn members<E: Error>(&self, fields: &'a [Field]) -> Result<Vec<Self>, E> {
        let fits = |field: &'a Field, value: Option<&'a Value>| match (value, &field.shape) {
            (Some(value), shape) => Ok(self.inner(shape, value)),
            (None, shape @ Shape::Option(_)) => Ok(self.inner(shape, &Value::Null)),
            (None, _) => Err(E::custom(format!("missing field `{}`", field.name))),
        };
        match self.value {
            Value::Object(members) => fields.iter().map(|field| fits(field, members.get(&field.name))).collect(),
            Value::Array(values) if values.len() <= fields.len() => {
                fields.iter().enumerate().map(|(at, field)| fits(field, values.get(at))).collect()
            }
            _ => Err(self.wrong("an object")),
        }
    }

    fn structure<S: Serializer>(&self, out: S, fields: &'a [Field]) -> Result<S::Ok, S::Error> {
        let mut out = out.serialize_tuple(fields.len())?;
        for member in self.members::<S::Error>(fields)? {
            out.serialize_element(&member)?;
        }
        out.end()
    }

    fn variant<S: Serializer>(&self, out: S, variants: &'a [Variant]) -> Result<S::Ok, S::Error> {
        let (name, value) = match self.value {
            Value::String(name) => (name, &Value::Null),
            Value::Object(members) if members.len() == 1 => {
                members.iter().next().ok_or_else(|| self.wrong("a variant"))?
            }
            _ => return Err(self.wrong("a variant")),
        };
        let place = variants.iter().position(|variant| variant.name == *name);
        let (place, holds) = place
            .and_then(|place| Some((u32::try_from(place).ok()?, &variants.get(place)?.holds)))
            .ok_or_else(|| S::Error::custom(format!("unknown variant `{name}`")))?;
        match holds {
            Composition::Unit => out.serialize_unit_variant("", place, ""),
            Composition::Newtype(shape) => out.serialize_newtype_variant("", place, "", &self.inner(shape, value)),
            Composition::Tuple(shapes) => {
                let values = value.as_array().filter(|values| values.len() == shapes.len());
                let values = values.ok_or_else(|| self.wrong(&format!("a list of {}", shapes.len())))?;
                let parts = shapes.iter().zip(values).map(|(shape, value)| self.inner(shape, value));
                parts_of_variant(out, place, parts.collect())
            }
            Composition::Struct(fields) => parts_of_variant(out, place, self.inner(self.shape, value).members(fields)?),
            Composition::Enum(_) => Err(S::Error::custom("a variant holds no enum itself")),
        }
    }
}

fn parts_of_variant<S: Serializer>(out: S, place: u32, parts: Vec<Shaped<'_>>) -> Result<S::Ok, S::Error> {
    let mut out = out.serialize_tuple_variant("", place, "", parts.len())?;
    for part in &parts {
        out.serialize_field(part)?;
    }
    out.end()
}

impl Serialize for Shaped<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if self.depth > MAX_DEPTH {
            return Err(S::Error::custom("the shape is nested too deeply"));
        }
        match self.shape {
            Shape::Never => Err(self.wrong("no value")),
            Shape::Unit => out.serialize_unit(),
            Shape::Bool => match self.value {
                Value::Bool(value) => out.serialize_bool(*value),
                Value::String(text) if self.is_key && (text == "true" || text == "false") => {
                    out.serialize_bool(text == "true")
                }
                _ => Err(self.wrong("true or false")),
            },
            Shape::I8 => out.serialize_i8(self.integer("a whole number from -128 to 127")?),
            Shape::I16 => out.serialize_i16(self.integer("a whole number of 16 bits")?),
            Shape::I32 => out.serialize_i32(self.integer("a whole number of 32 bits")?),
            Shape::I64 => out.serialize_i64(self.integer("a whole number of 64 bits")?),
            Shape::I128 => out.serialize_i128(self.integer("a whole number of 128 bits")?),
            Shape::U8 => out.serialize_u8(self.integer("a whole number from 0 to 255")?),
            Shape::U16 => out.serialize_u16(self.integer("a whole number from 0 to 65535")?),
            Shape::U32 => out.serialize_u32(self.integer("a whole number of 32 bits, 0 or more")?),
            Shape::U64 => out.serialize_u64(self.integer("a whole number of 64 bits, 0 or more")?),
            Shape::U128 => out.serialize_u128(self.integer("a whole number of 128 bits, 0 or more")?),
            #[expect(clippy::cast_possible_truncation, reason = "as the JSON reader does for an f32")]
            Shape::F32 => out.serialize_f32(self.value.as_f64().ok_or_else(|| self.wrong("a number"))? as f32),
            Shape::F64 => out.serialize_f64(self.value.as_f64().ok_or_else(|| self.wrong("a number"))?),
            Shape::Char => match self.value.as_str().map(str::chars).map(|mut chars| (chars.next(), chars.next())) {
                Some((Some(only), None)) => out.serialize_char(only),
                _ => Err(self.wrong("one character")),
            },
            Shape::Str => out.serialize_str(self.value.as_str().ok_or_else(|| self.wrong("a text"))?),
            Shape::Bytes => self.bytes(out),
            Shape::Any | Shape::Schema(_) => Err(S::Error::custom("bincode can't hold a value of any kind")),
            Shape::Option(_) if self.value.is_null() => out.serialize_none(),
            Shape::Option(inner) => out.serialize_some(&self.inner(inner, self.value)),
            Shape::List(item) => out.collect_seq(self.list()?.iter().map(|value| self.inner(item, value))),
            Shape::Map(entry) => self.map(out, &entry.0, &entry.1),
            Shape::Tuple(shapes) => self.tuple(out, shapes),
            Shape::Array(item, len) => self.array(out, item, *len),
            Shape::Type(name) => self.named(out, name),
        }
    }
}
