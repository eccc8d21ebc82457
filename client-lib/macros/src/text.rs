//! What attributes, names and types are as text.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Attribute, Expr, ExprLit, GenericArgument, Lit, LitInt, LitStr, Meta, PathArguments, Result, Type};

/// The text of the doc comments, a line each.
pub(crate) fn of_docs(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter(|attribute| attribute.path().is_ident("doc")).filter_map(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else { return None };
        let Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) = &pair.value else { return None };
        let line = line.value();
        Some(line.strip_prefix(' ').unwrap_or(&line).to_owned())
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The value of `#[name = "text"]`.
///
/// # Errors
/// If there is another kind of value, or none.
pub(crate) fn string_of(attribute: &Attribute) -> Result<LitStr> {
    match &attribute.meta.require_name_value()?.value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text.clone()),
        other => Err(syn::Error::new_spanned(other, "expected a text in quotes")),
    }
}

/// The value of `#[code = 2]`.
///
/// # Errors
/// If there is another kind of value, or none.
pub(crate) fn integer_of(attribute: &Attribute) -> Result<LitInt> {
    match &attribute.meta.require_name_value()?.value {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => Ok(number.clone()),
        other => Err(syn::Error::new_spanned(other, "expected a number")),
    }
}

/// The arguments of a type whose last name is `name`: those of `std::option::Option<u8>` for `Option`.
pub(crate) fn arguments_of(ty: &Type, name: &str) -> Option<Vec<Type>> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == name)?;
    match &last.arguments {
        PathArguments::AngleBracketed(list) => Some(
            list.args
                .iter()
                .filter_map(|argument| match argument {
                    GenericArgument::Type(ty) => Some(ty.clone()),
                    _ => None,
                })
                .collect(),
        ),
        _ => Some(Vec::new()),
    }
}

/// A mistake at a place.
pub(crate) fn wrong(place: &impl ToTokens, text: &str) -> syn::Error {
    syn::Error::new_spanned(place, text)
}

/// `find_all` as part of the name of a type: `FindAll`.
pub(crate) fn camel(name: &str) -> String {
    name.split('_')
        .flat_map(|word| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>())
        })
        .collect()
}

/// What is wrong with a name of a service or a topic: labels of `[a-z0-9_-]` with dots between, at most 255 bytes.
pub(crate) fn wrong_with_name(name: &str) -> Option<&'static str> {
    match name {
        "" => Some("a name is not empty"),
        name if name.split('.').any(str::is_empty) => Some("a label of the name is empty"),
        name => name.split('.').find_map(wrong_with_method).or_else(|| too_long(name)),
    }
}

/// What is wrong with a name of a method: one label, or nothing for the default method.
pub(crate) fn wrong_with_method(name: &str) -> Option<&'static str> {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    if name.contains('.') {
        return Some("a method has no dot in its name");
    }
    if name.chars().all(is_allowed) {
        too_long(name)
    } else {
        Some("a name has lower-case letters, digits, `_` and `-`")
    }
}

fn too_long(name: &str) -> Option<&'static str> {
    (name.len() > 255).then_some("a name has at most 255 bytes")
}

/// Errors of several places, as one.
#[derive(Default)]
pub(crate) struct Mistakes(Option<syn::Error>);

impl Mistakes {
    pub(crate) fn add(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            none => *none = Some(error),
        }
    }

    pub(crate) fn add_at(&mut self, place: &impl ToTokens, text: &str) {
        self.add(syn::Error::new_spanned(place, text));
    }

    /// The value, or nothing after an error.
    pub(crate) fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn into_tokens(self) -> TokenStream {
        self.0.map(syn::Error::into_compile_error).unwrap_or_default()
    }

    /// # Errors
    /// Those that were added.
    pub(crate) fn into_result(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use ipc_protocol::{MethodName, ServiceName};

    use super::*;

    #[test]
    fn names_are_valid_here_if_they_are_on_the_wire() {
        let long = "a".repeat(255);
        let longer = "a".repeat(256);
        let dotted = format!("{long}.b");
        for name in
            ["calc", "org.example.clock-2_b", "", "a..b", ".a", "a.", ".", "Clock", "a*", "ä", &long, &longer, &dotted]
        {
            assert_eq!(wrong_with_name(name).is_none(), ServiceName::parse(name).is_ok(), "{name}");
            assert_eq!(wrong_with_method(name).is_none(), MethodName::parse(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn names_of_methods_become_names_of_types() {
        assert_eq!(["add", "find_all", "_x__y", "to_2d"].map(camel), ["Add", "FindAll", "XY", "To2d"]);
    }
}
