//! From a bincode body to JSON, by the shape alone.

use std::collections::BTreeMap;

use ipc_protocol::codec::{self, CodecError};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor},
};

use super::{Composition, Field, MAX_DEPTH, Shape, Type};

impl Type {
    /// Reads a bincode body as JSON, as the type itself would be written: members in the order of the type.
    ///
    /// # Errors
    /// [`CodecError::Decode`] if the body isn't a value of this type; [`CodecError::TrailingBytes`]; [`CodecError::TooMuchJson`] over
    /// 1 MiB and 64 bytes for each one of the body.
    pub fn to_json(&self, body: &[u8]) -> Result<Vec<u8>, CodecError> {
        let steps = FREE_STEPS + u64::try_from(body.len()).unwrap_or(u64::MAX);
        let most = body.len().saturating_mul(JSON_PER_BYTE).saturating_add(FREE_JSON);
        let mut page = Page { types: &self.types, out: Vec::with_capacity(body.len() * 4), steps, most };
        let read = codec::decode_bincode_seed(Value { shape: &self.shape, page: &mut page, depth: 0 }, body);
        if page.is_full() {
            return Err(CodecError::TooMuchJson(most));
        }
        read.map(|()| page.out)
    }
}

/// The JSON that is written so far.
struct Page<'a> {
    types: &'a BTreeMap<String, Composition>,
    out: Vec<u8>,
    /// Values that may still come. Shapes without bytes, such as an array of units, would write for ever.
    steps: u64,
    /// Bytes of JSON. The names in them come from the shape: a byte of the body may stand for a long one.
    most: usize,
}

impl Page<'_> {
    fn put<E: Error>(&mut self, value: &impl Serialize) -> Result<(), E> {
        serde_json::to_writer(&mut self.out, value).map_err(E::custom)?;
        if self.is_full() { Err(E::custom("the shape has too much JSON for its bytes")) } else { Ok(()) }
    }

    fn is_full(&self) -> bool {
        self.out.len() > self.most
    }

    fn step<E: Error>(&mut self, depth: u32) -> Result<(), E> {
        self.steps =
            self.steps.checked_sub(1).ok_or_else(|| E::custom("the shape has too many values for its bytes"))?;
        if depth > MAX_DEPTH { Err(E::custom("the shape is nested too deeply")) } else { Ok(()) }
    }
}

/// The next value, of a shape.
struct Value<'p, 'a> {
    shape: &'a Shape,
    page: &'p mut Page<'a>,
    depth: u32,
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        let Self { shape, page, depth } = self;
        page.step(depth)?;
        match shape {
            Shape::Never => Err(D::Error::custom("no value is described here")),
            Shape::Unit => page.put(&()),
            Shape::Bool => page.put(&bool::deserialize(source)?),
            Shape::I8 => page.put(&i8::deserialize(source)?),
            Shape::I16 => page.put(&i16::deserialize(source)?),
            Shape::I32 => page.put(&i32::deserialize(source)?),
            Shape::I64 => page.put(&i64::deserialize(source)?),
            Shape::I128 => page.put(&i128::deserialize(source)?),
            Shape::U8 => page.put(&u8::deserialize(source)?),
            Shape::U16 => page.put(&u16::deserialize(source)?),
            Shape::U32 => page.put(&u32::deserialize(source)?),
            Shape::U64 => page.put(&u64::deserialize(source)?),
            Shape::U128 => page.put(&u128::deserialize(source)?),
            Shape::F32 => page.put(&f32::deserialize(source)?),
            Shape::F64 => page.put(&f64::deserialize(source)?),
            Shape::Char => page.put(&char::deserialize(source)?),
            Shape::Str => page.put(&String::deserialize(source)?),
            Shape::Bytes => source.deserialize_byte_buf(Parts { parts: Many::Bytes, page, depth }),
            Shape::Any | Shape::Schema(_) => Err(D::Error::custom("bincode can't hold a value of any kind")),
            Shape::Option(inner) => source.deserialize_option(Parts { parts: Many::Option(inner), page, depth }),
            Shape::List(item) => source.deserialize_seq(Parts { parts: Many::Alike(item), page, depth }),
            Shape::Map(entry) => {
                source.deserialize_map(Parts { parts: Many::Entries(&entry.0, &entry.1), page, depth })
            }
            Shape::Tuple(shapes) => {
                source.deserialize_tuple(shapes.len(), Parts { parts: Many::Each(shapes), page, depth })
            }
            Shape::Array(item, len) => {
                let len = usize::try_from(*len).unwrap_or(usize::MAX);
                source.deserialize_tuple(len, Parts { parts: Many::Alike(item), page, depth })
            }
            Shape::Type(name) => match page.types.get(name) {
                Some(composition) => Composed { composition, page, depth: depth + 1 }.deserialize(source),
                None => Err(D::Error::custom(format!("the shape names {name}, which isn't described"))),
            },
        }
    }
}

/// The next value, of a named type.
struct Composed<'p, 'a> {
    composition: &'a Composition,
    page: &'p mut Page<'a>,
    depth: u32,
}

impl<'de> DeserializeSeed<'de> for Composed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        let Self { composition, page, depth } = self;
        match composition {
            Composition::Unit => page.put(&()),
            Composition::Newtype(shape) => Value { shape, page, depth: depth + 1 }.deserialize(source),
            Composition::Tuple(shapes) => {
                source.deserialize_tuple(shapes.len(), Parts { parts: Many::Each(shapes), page, depth })
            }
            Composition::Struct(fields) => {
                source.deserialize_tuple(fields.len(), Parts { parts: Many::Fields(fields), page, depth })
            }
            Composition::Enum(_) => {
                source.deserialize_enum("", &[], Parts { parts: Many::Enum(composition), page, depth })
            }
        }
    }
}

/// A value that has others in it.
struct Parts<'p, 'a> {
    parts: Many<'a>,
    page: &'p mut Page<'a>,
    depth: u32,
}

enum Many<'a> {
    Bytes,
    Option(&'a Shape),
    /// All of one shape.
    Alike(&'a Shape),
    /// One of each shape.
    Each(&'a [Shape]),
    Fields(&'a [Field]),
    Entries(&'a Shape, &'a Shape),
    Enum(&'a Composition),
}

impl<'de> Visitor<'de> for Parts<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value of the described shape")
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<(), E> {
        self.page.put(&bytes)
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.page.put(&())
    }

    fn visit_some<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        match self.parts {
            Many::Option(shape) => Value { shape, page: self.page, depth: self.depth + 1 }.deserialize(source),
            _ => Err(D::Error::custom("no option is described here")),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> Result<(), A::Error> {
        let Self { parts, page, depth } = self;
        let depth = depth + 1;
        let missing = || A::Error::custom("the body ends too early");
        let is_object = matches!(parts, Many::Fields(_));
        page.out.push(if is_object { b'{' } else { b'[' });
        match parts {
            Many::Alike(shape) => {
                for at in 0.. {
                    let before = page.out.len();
                    comma(page, at);
                    if source.next_element_seed(Value { shape, page, depth })?.is_none() {
                        page.out.truncate(before);
                        break;
                    }
                }
            }
            Many::Each(shapes) => {
                for (at, shape) in shapes.iter().enumerate() {
                    comma(page, at);
                    source.next_element_seed(Value { shape, page, depth })?.ok_or_else(missing)?;
                }
            }
            Many::Fields(fields) => {
                for (at, field) in fields.iter().enumerate() {
                    comma(page, at);
                    page.put(&field.name)?;
                    page.out.push(b':');
                    source.next_element_seed(Value { shape: &field.shape, page, depth })?.ok_or_else(missing)?;
                }
            }
            _ => return Err(A::Error::custom("no list is described here")),
        }
        page.out.push(if is_object { b'}' } else { b']' });
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<(), A::Error> {
        let Self { parts: Many::Entries(key, value), page, depth } = self else {
            return Err(A::Error::custom("no map is described here"));
        };
        let depth = depth + 1;
        page.out.push(b'{');
        for at in 0.. {
            let before = page.out.len();
            comma(page, at);
            let start = page.out.len();
            if source.next_key_seed(Value { shape: key, page, depth })?.is_none() {
                page.out.truncate(before);
                break;
            }
            quote_key(&mut page.out, start)?;
            page.out.push(b':');
            source.next_value_seed(Value { shape: value, page, depth })?;
        }
        page.out.push(b'}');
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, source: A) -> Result<(), A::Error> {
        let Self { parts: Many::Enum(Composition::Enum(variants)), page, depth } = self else {
            return Err(A::Error::custom("no enum is described here"));
        };
        let (place, source) = source.variant::<u32>()?;
        let variant = usize::try_from(place).ok().and_then(|place| variants.get(place));
        let variant = variant.ok_or_else(|| A::Error::custom(format!("variant {place} of {}", variants.len())))?;
        let depth = depth + 1;
        if variant.holds == Composition::Unit {
            source.unit_variant()?;
            return page.put(&variant.name);
        }
        page.out.push(b'{');
        page.put(&variant.name)?;
        page.out.push(b':');
        match &variant.holds {
            Composition::Newtype(shape) => source.newtype_variant_seed(Value { shape, page, depth })?,
            Composition::Tuple(shapes) => {
                source.tuple_variant(shapes.len(), Parts { parts: Many::Each(shapes), page, depth })?;
            }
            Composition::Struct(fields) => {
                source.tuple_variant(fields.len(), Parts { parts: Many::Fields(fields), page, depth })?;
            }
            Composition::Unit | Composition::Enum(_) => return Err(A::Error::custom("a variant holds no enum itself")),
        }
        page.out.push(b'}');
        Ok(())
    }
}

/// Puts a comma before all but the first.
fn comma(page: &mut Page<'_>, at: usize) {
    if at > 0 {
        page.out.push(b',');
    }
}

/// A key of JSON is a text: a number or a truth value is put in quotes, as the JSON writer does with a typed map.
fn quote_key<E: Error>(out: &mut Vec<u8>, start: usize) -> Result<(), E> {
    match out.get(start) {
        Some(b'"') => Ok(()),
        Some(b'0'..=b'9' | b'-' | b't' | b'f') => {
            out.insert(start, b'"');
            out.push(b'"');
            Ok(())
        }
        _ => Err(E::custom("a key of this shape can't be a key in JSON")),
    }
}

/// Values that a body may have beyond one a byte.
const FREE_STEPS: u64 = 100_000;
/// Bytes of JSON for each of a body: a variant with a name of some 60, or a small struct.
const JSON_PER_BYTE: usize = 64;
/// Bytes of JSON that any body may have beyond those.
const FREE_JSON: usize = 1 << 20;
