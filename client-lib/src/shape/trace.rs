//! From a Rust type to its shape: the type reads made-up values, and what it asks for is written down.
//!
//! An enum reads one variant at a time, so the type reads again and again until every variant was read of each enum that can be
//! reached. A variant stays open as long as an enum inside it is.

use std::{any::type_name, collections::BTreeMap, fmt};

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
    value::U32Deserializer,
};

use super::{Composition, Field, MAX_DEPTH, Shape, Type, Variant};

impl Type {
    /// Traces a Rust type through its `Deserialize`: what bincode depends on, no more.
    ///
    /// None for a type that can't be traced: one that validates what it reads, has an attribute that bincode can't decode
    /// (`flatten`, `untagged`, `tag`), or an alias, which hides the names of the others.
    #[must_use]
    pub fn of<T: DeserializeOwned>() -> Option<Self> {
        let mut tracer = Tracer::default();
        for _ in 0..READINGS {
            let mut shape = None;
            tracer.is_open = false;
            T::deserialize(Reader { tracer: &mut tracer, shape: &mut shape }).ok()?;
            if !tracer.is_open {
                let types = tracer.types.into_values().map(|named| Some((named.name, named.composition?)));
                return Some(Self { shape: shape?, types: types.collect::<Option<_>>()? });
            }
        }
        None
    }
}

/// What is known of a type so far.
#[derive(Default)]
struct Tracer {
    /// By the name of what reads them, which tells types of one name apart.
    types: BTreeMap<&'static str, Named>,
    /// Types that are being read, the innermost last.
    under_way: Vec<&'static str>,
    /// Whether an enum has variants left for another reading.
    is_open: bool,
}

struct Named {
    name: String,
    composition: Option<Composition>,
    /// For an enum, the variants that are to be read yet.
    open: Vec<bool>,
}

/// A named type that is being read.
struct Entered {
    key: &'static str,
    name: String,
    /// Whether it is read inside itself: what it is made of is noted outside.
    is_again: bool,
}

impl Tracer {
    /// Begins to read a named type.
    fn enter(&mut self, key: &'static str, name: &str, variants: usize) -> Result<Entered, Untraceable> {
        if self.under_way.len() >= MAX_DEPTH as usize {
            return Err(Untraceable);
        }
        let is_again = self.under_way.contains(&key);
        self.under_way.push(key);
        if let Some(named) = self.types.get(key) {
            return Ok(Entered { key, name: named.name.clone(), is_again });
        }
        let is_taken = |name: &str| self.types.values().any(|named| named.name == name);
        let mut unique = name.to_owned();
        for number in 2.. {
            if !is_taken(&unique) {
                break;
            }
            unique = format!("{name}{number}");
        }
        let named = Named { name: unique.clone(), composition: None, open: vec![true; variants] };
        self.types.insert(key, named);
        Ok(Entered { key, name: unique, is_again })
    }

    fn leave(&mut self, entered: &Entered, composition: Composition) {
        self.under_way.pop();
        if let (Some(named), false) = (self.types.get_mut(entered.key), entered.is_again) {
            named.composition = Some(composition);
        }
    }

    /// Whether the innermost type is being read inside itself: options are none there, lists empty.
    fn is_inside_itself(&self) -> bool {
        match self.under_way.split_last() {
            Some((innermost, outer)) => outer.contains(innermost),
            None => false,
        }
    }
}

/// The reason why a type can't be traced is of no use to anyone: it goes without a shape.
#[derive(Debug)]
struct Untraceable;

impl fmt::Display for Untraceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the type can't be traced")
    }
}

impl std::error::Error for Untraceable {}

impl Error for Untraceable {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// Gives a type what it asks for, and notes it in `shape`.
struct Reader<'t> {
    tracer: &'t mut Tracer,
    shape: &'t mut Option<Shape>,
}

impl Reader<'_> {
    fn note(&mut self, shape: Shape) {
        *self.shape = Some(shape);
    }
}

/// Made-up values pass most checks that types make of theirs: numbers aren't zero, texts aren't empty.
macro_rules! plain {
    ($($deserialize:ident, $visit:ident, $shape:ident, $value:expr;)*) => {$(
        fn $deserialize<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
            self.note(Shape::$shape);
            visitor.$visit($value)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Untraceable;

    plain! {
        deserialize_bool, visit_bool, Bool, true;
        deserialize_i8, visit_i8, I8, 1;
        deserialize_i16, visit_i16, I16, 1;
        deserialize_i32, visit_i32, I32, 1;
        deserialize_i64, visit_i64, I64, 1;
        deserialize_i128, visit_i128, I128, 1;
        deserialize_u8, visit_u8, U8, 1;
        deserialize_u16, visit_u16, U16, 1;
        deserialize_u32, visit_u32, U32, 1;
        deserialize_u64, visit_u64, U64, 1;
        deserialize_u128, visit_u128, U128, 1;
        deserialize_f32, visit_f32, F32, 1.0;
        deserialize_f64, visit_f64, F64, 1.0;
        deserialize_char, visit_char, Char, 'a';
        deserialize_str, visit_borrowed_str, Str, "a";
        deserialize_string, visit_string, Str, "a".to_owned();
        deserialize_bytes, visit_borrowed_bytes, Bytes, &[1; 16];
        deserialize_byte_buf, visit_byte_buf, Bytes, vec![1; 16];
    }

    fn deserialize_unit<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
        self.note(Shape::Unit);
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Untraceable> {
        if self.tracer.is_inside_itself() {
            return visitor.visit_none();
        }
        let mut inner = None;
        let value = visitor.visit_some(Reader { tracer: self.tracer, shape: &mut inner })?;
        *self.shape = inner.map(|inner| Shape::Option(Box::new(inner)));
        Ok(value)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Untraceable> {
        let mut items = Parts::new(self.tracer, usize::from(!self.tracer.is_inside_itself()));
        let value = visitor.visit_seq(&mut items)?;
        *self.shape = items.shapes.pop().flatten().map(|item| Shape::List(Box::new(item)));
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Untraceable> {
        let mut entry = Parts::new(self.tracer, 2 * usize::from(!self.tracer.is_inside_itself()));
        let value = visitor.visit_map(&mut entry)?;
        let (second, first) = (entry.shapes.pop().flatten(), entry.shapes.pop().flatten());
        *self.shape = first.zip(second).map(|entry| Shape::Map(Box::new(entry)));
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Untraceable> {
        let (value, shapes) = Parts::read(self.tracer, len, visitor)?;
        let array =
            u32::try_from(len).ok().filter(|_| len > 1 && shapes.iter().all(|shape| Some(shape) == shapes.first()));
        *self.shape = match (array, shapes.first()) {
            (Some(len), Some(item)) => Some(Shape::Array(Box::new(item.clone()), len)),
            _ => Some(Shape::Tuple(shapes)),
        };
        Ok(value)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(mut self, name: &str, visitor: V) -> Result<V::Value, Untraceable> {
        let entered = self.tracer.enter(type_name::<V>(), name, 0)?;
        self.tracer.leave(&entered, Composition::Unit);
        self.note(Shape::Type(entered.name));
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(mut self, name: &str, visitor: V) -> Result<V::Value, Untraceable> {
        let entered = self.tracer.enter(type_name::<V>(), name, 0)?;
        let mut inner = None;
        let value = visitor.visit_newtype_struct(Reader { tracer: &mut *self.tracer, shape: &mut inner })?;
        self.tracer.leave(&entered, Composition::Newtype(known(inner, entered.is_again)?));
        self.note(Shape::Type(entered.name));
        Ok(value)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        mut self,
        name: &str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        let entered = self.tracer.enter(type_name::<V>(), name, 0)?;
        let (value, shapes) = Parts::read(self.tracer, len, visitor)?;
        self.tracer.leave(&entered, Composition::Tuple(shapes));
        self.note(Shape::Type(entered.name));
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        name: &str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        let entered = self.tracer.enter(type_name::<V>(), name, 0)?;
        let (value, shapes) = Parts::read(self.tracer, fields.len(), visitor)?;
        self.tracer.leave(&entered, Composition::Struct(named(fields, shapes)));
        self.note(Shape::Type(entered.name));
        Ok(value)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        name: &str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        let entered = self.tracer.enter(type_name::<V>(), name, variants.len())?;
        let place = match self.tracer.types.get(entered.key) {
            Some(named) if !entered.is_again => named.open.iter().position(|is_open| *is_open).unwrap_or_default(),
            _ => 0,
        };
        let was_open = std::mem::take(&mut self.tracer.is_open);
        let mut holds = None;
        let value = visitor.visit_enum(Chosen { tracer: &mut *self.tracer, place, holds: &mut holds })?;
        let holds = holds.ok_or(Untraceable)?;
        self.tracer.note_variant(&entered, place, variants, holds)?;
        self.tracer.is_open |= was_open;
        self.note(Shape::Type(entered.name));
        Ok(value)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Untraceable> {
        Err(Untraceable)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Untraceable> {
        Err(Untraceable)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Untraceable> {
        Err(Untraceable)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl Tracer {
    /// Notes what a variant holds. It stays open if an enum in it has variants left, and the enum if one of its variants is open.
    fn note_variant(
        &mut self,
        entered: &Entered,
        place: usize,
        names: &[&str],
        holds: Composition,
    ) -> Result<(), Untraceable> {
        self.under_way.pop();
        let is_open_inside = std::mem::take(&mut self.is_open);
        if entered.is_again {
            return Ok(());
        }
        let named = self.types.get_mut(entered.key).ok_or(Untraceable)?;
        let mut variants = match named.composition.take() {
            Some(Composition::Enum(variants)) => variants,
            _ => names.iter().map(|name| Variant { name: (*name).to_owned(), holds: Composition::Unit }).collect(),
        };
        let (variant, open) = variants.get_mut(place).zip(named.open.get_mut(place)).ok_or(Untraceable)?;
        (variant.holds, *open) = (holds, is_open_inside);
        named.composition = Some(Composition::Enum(variants));
        self.is_open = named.open.contains(&true);
        Ok(())
    }
}

/// Values that stand one after the other.
struct Parts<'t> {
    tracer: &'t mut Tracer,
    left: usize,
    shapes: Vec<Option<Shape>>,
}

impl<'t> Parts<'t> {
    fn new(tracer: &'t mut Tracer, left: usize) -> Self {
        Self { tracer, left, shapes: Vec::new() }
    }

    /// Reads exactly `len` values. A type with aliases has more names than fields, and nothing tells which are which.
    fn read<'de, V: Visitor<'de>>(
        tracer: &mut Tracer,
        len: usize,
        visitor: V,
    ) -> Result<(V::Value, Vec<Shape>), Untraceable> {
        let is_again = tracer.is_inside_itself();
        let mut parts = Parts::new(tracer, len);
        let value = visitor.visit_seq(&mut parts)?;
        if parts.left > 0 {
            return Err(Untraceable);
        }
        let shapes = parts.shapes.into_iter().map(|shape| known(shape, is_again));
        Ok((value, shapes.collect::<Result<_, _>>()?))
    }

    fn next<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Untraceable> {
        let mut shape = None;
        let value = seed.deserialize(Reader { tracer: &mut *self.tracer, shape: &mut shape })?;
        self.shapes.push(shape);
        Ok(value)
    }

    fn take_one(&mut self) -> bool {
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }
}

impl<'de> SeqAccess<'de> for &mut Parts<'_> {
    type Error = Untraceable;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Untraceable> {
        if self.take_one() { self.next(seed).map(Some) } else { Ok(None) }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for &mut Parts<'_> {
    type Error = Untraceable;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Untraceable> {
        if self.take_one() { self.next(seed).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Untraceable> {
        if self.take_one() { self.next(seed) } else { Err(Untraceable) }
    }
}

/// A variant that is read.
struct Chosen<'t> {
    tracer: &'t mut Tracer,
    place: usize,
    holds: &'t mut Option<Composition>,
}

impl<'de> EnumAccess<'de> for Chosen<'_> {
    type Error = Untraceable;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Untraceable> {
        let place = u32::try_from(self.place).map_err(|_| Untraceable)?;
        let place: U32Deserializer<Untraceable> = serde::de::IntoDeserializer::into_deserializer(place);
        Ok((seed.deserialize(place)?, self))
    }
}

impl<'de> VariantAccess<'de> for Chosen<'_> {
    type Error = Untraceable;

    fn unit_variant(self) -> Result<(), Untraceable> {
        *self.holds = Some(Composition::Unit);
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Untraceable> {
        let is_again = self.tracer.is_inside_itself();
        let mut inner = None;
        let value = seed.deserialize(Reader { tracer: &mut *self.tracer, shape: &mut inner })?;
        *self.holds = Some(Composition::Newtype(known(inner, is_again)?));
        Ok(value)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Untraceable> {
        let (value, shapes) = Parts::read(self.tracer, len, visitor)?;
        *self.holds = Some(Composition::Tuple(shapes));
        Ok(value)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        let (value, shapes) = Parts::read(self.tracer, fields.len(), visitor)?;
        *self.holds = Some(Composition::Struct(named(fields, shapes)));
        Ok(value)
    }
}

/// A shape that was noted. Inside a type that is read inside itself, what is noted isn't kept.
fn known(shape: Option<Shape>, is_again: bool) -> Result<Shape, Untraceable> {
    shape.or(is_again.then_some(Shape::Unit)).ok_or(Untraceable)
}

fn named(names: &[&str], shapes: Vec<Shape>) -> Vec<Field> {
    names.iter().zip(shapes).map(|(name, shape)| Field::new(*name, shape)).collect()
}

/// Readings of one type: more than the variants of all its enums.
const READINGS: usize = 10_000;
