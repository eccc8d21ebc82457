//! Names in a request that its type doesn't know.

use serde_json::Value;

use super::{Composition, Field, JsonSchema, MAX_DEPTH, Shape, Type};

/// A field that the type doesn't have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no field `{}`; there are {}", self.path(), self.known.join(", "))]
#[non_exhaustive]
pub struct Mismatch {
    /// Where it stands: the fields above it.
    pub parents: Vec<String>,
    /// The name that isn't known.
    pub field: String,
    /// The names that are, in order.
    pub known: Vec<String>,
}

impl Mismatch {
    /// The field with those above it, as in `address.street`.
    #[must_use]
    pub fn path(&self) -> String {
        let parts: Vec<&str> = self.parents.iter().map(String::as_str).chain([self.field.as_str()]).collect();
        parts.join(".")
    }
}

impl Type {
    /// Looks for a field that the type doesn't have, as a slip of the keyboard leaves it. It says nothing about values, nor about
    /// fields that are missing: only the service knows which of them it can do without.
    ///
    /// # Errors
    /// [`Mismatch`] with the first such field.
    pub fn check_names(&self, value: &Value) -> Result<(), Mismatch> {
        let mut check = Check { types: self, parents: Vec::new() };
        check.value(&self.shape, value)
    }
}

struct Check<'a> {
    types: &'a Type,
    parents: Vec<String>,
}

impl Check<'_> {
    fn value(&mut self, shape: &Shape, value: &Value) -> Result<(), Mismatch> {
        if self.parents.len() > MAX_DEPTH as usize {
            return Ok(());
        }
        match (shape, value) {
            (Shape::Option(inner), value) if !value.is_null() => self.value(inner, value),
            (Shape::List(item) | Shape::Array(item, _), Value::Array(values)) => {
                values.iter().enumerate().try_for_each(|(at, value)| self.below(&at.to_string(), item, value))
            }
            (Shape::Tuple(shapes), Value::Array(values)) => {
                let mut parts = shapes.iter().zip(values).enumerate();
                parts.try_for_each(|(at, (shape, value))| self.below(&at.to_string(), shape, value))
            }
            (Shape::Map(entry), Value::Object(members)) => {
                members.iter().try_for_each(|(key, value)| self.below(key, &entry.1, value))
            }
            (Shape::Schema(schema), value) => self.schema(schema, value),
            (Shape::Type(name), value) => match self.types.types.get(name) {
                Some(Composition::Struct(fields)) => self.members(fields, value),
                Some(Composition::Enum(variants)) => {
                    let Some((name, value)) = value.as_object().and_then(|members| members.iter().next()) else {
                        return Ok(());
                    };
                    match variants.iter().find(|variant| variant.name == *name).map(|variant| &variant.holds) {
                        Some(Composition::Struct(fields)) => self.members(fields, value),
                        Some(Composition::Newtype(inner)) => self.below(name, inner, value),
                        _ => Ok(()),
                    }
                }
                // A type that holds only itself ends here, too.
                Some(Composition::Newtype(inner)) if *inner != *shape => self.below(name, inner, value),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// A schema says whether there may be other members than those that it names.
    fn schema(&mut self, schema: &JsonSchema, value: &Value) -> Result<(), Mismatch> {
        if schema.is_closed() {
            return self.members(schema.fields(), value);
        }
        let mut known = schema.fields().iter().filter_map(|field| Some((field, value.get(&field.name)?)));
        known.try_for_each(|(field, value)| self.below(&field.name, &field.shape, value))
    }

    fn members(&mut self, fields: &[Field], value: &Value) -> Result<(), Mismatch> {
        let Value::Object(members) = value else { return Ok(()) };
        for (name, value) in members {
            let Some(field) = fields.iter().find(|field| field.name == *name) else {
                let known = fields.iter().map(|field| field.name.clone()).collect();
                return Err(Mismatch { parents: self.parents.clone(), field: name.clone(), known });
            };
            self.below(name, &field.shape, value)?;
        }
        Ok(())
    }

    fn below(&mut self, name: &str, shape: &Shape, value: &Value) -> Result<(), Mismatch> {
        self.parents.push(name.to_owned());
        self.value(shape, value)?;
        self.parents.pop();
        Ok(())
    }
}
