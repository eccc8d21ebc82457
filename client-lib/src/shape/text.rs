//! A shape in words, as a person reads it.

use std::fmt::{self, Display, Formatter};

use super::{Composition, Field, JsonSchema, Shape, Variant};

impl Display for Shape {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::Unit => f.write_str("nothing"),
            Self::Bool => f.write_str("bool"),
            Self::I8 => f.write_str("i8"),
            Self::I16 => f.write_str("i16"),
            Self::I32 => f.write_str("i32"),
            Self::I64 => f.write_str("i64"),
            Self::I128 => f.write_str("i128"),
            Self::U8 => f.write_str("u8"),
            Self::U16 => f.write_str("u16"),
            Self::U32 => f.write_str("u32"),
            Self::U64 => f.write_str("u64"),
            Self::U128 => f.write_str("u128"),
            Self::F32 => f.write_str("f32"),
            Self::F64 => f.write_str("f64"),
            Self::Char => f.write_str("char"),
            Self::Str => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Any => f.write_str("any"),
            Self::Schema(schema) => schema.fmt(f),
            Self::Option(inner) => write!(f, "{inner}?"),
            Self::List(item) => write!(f, "[{item}]"),
            Self::Map(entry) => write!(f, "{{{}: {}}}", entry.0, entry.1),
            Self::Tuple(shapes) => write!(f, "({})", Listed(shapes)),
            Self::Array(item, len) => write!(f, "[{item}; {len}]"),
            Self::Type(name) => f.write_str(name),
        }
    }
}

impl Display for JsonSchema {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.fields() {
            [] if self.is_empty() => f.write_str("nothing"),
            [] => f.write_str("any (see -o json)"),
            fields => write!(f, "{{{}}}", Listed(fields)),
        }
    }
}

impl Display for Composition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit => f.write_str("nothing"),
            Self::Newtype(inner) => inner.fmt(f),
            Self::Tuple(shapes) => write!(f, "({})", Listed(shapes)),
            Self::Struct(fields) if fields.is_empty() => f.write_str("nothing"),
            Self::Struct(fields) => Listed(fields).fmt(f),
            Self::Enum(variants) => {
                for (at, variant) in variants.iter().enumerate() {
                    write!(f, "{}{variant}", if at == 0 { "" } else { " | " })?;
                }
                Ok(())
            }
        }
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.shape)
    }
}

impl Display for Variant {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.holds {
            Composition::Unit => f.write_str(&self.name),
            Composition::Struct(fields) => write!(f, "{} {{ {} }}", self.name, Listed(fields)),
            Composition::Tuple(shapes) => write!(f, "{}({})", self.name, Listed(shapes)),
            holds => write!(f, "{}({holds})", self.name),
        }
    }
}

struct Listed<'a, T>(&'a [T]);

impl<T: Display> Display for Listed<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.iter().enumerate() {
            write!(f, "{}{part}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
