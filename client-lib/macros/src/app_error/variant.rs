//! A variant of an error, or a struct that is one.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Attribute, Fields, Ident, LitInt, LitStr, Result};

use crate::text::{Mistakes, integer_of, string_of};

/// A variant, with what its attributes say.
pub(super) struct Variant {
    /// `Self`, or `Self::Variant`.
    path: TokenStream,
    pub(super) name: Ident,
    pub(super) code: LitInt,
    pub(super) text: Option<LitStr>,
    /// Whether what a nested call ended with becomes this one.
    pub(super) is_nested: bool,
    fields: Fields,
}

impl Variant {
    /// # Errors
    /// Without a code from 1 to 63.
    pub(super) fn read(of: Option<&Ident>, name: &Ident, attributes: &[Attribute], fields: Fields) -> Result<Self> {
        let (mut code, mut text, mut is_nested) = (None, None, false);
        for attribute in attributes {
            match attribute.path().get_ident().map(Ident::to_string).as_deref() {
                Some("code") => code = Some(integer_of(attribute)?),
                Some("text") => text = Some(string_of(attribute)?),
                Some("nested") => {
                    attribute.meta.require_path_only()?;
                    is_nested = true;
                }
                _ => {}
            }
        }
        let missing = "a code that never changes is wanted here: `#[code = 2]`, from 1 to 63";
        let code = code.ok_or_else(|| syn::Error::new_spanned(name, missing))?;
        if !code.base10_parse::<u8>().is_ok_and(|code| (1..=63).contains(&code)) {
            return Err(syn::Error::new_spanned(code, "a code is from 1 to 63: above, the exit codes of ipcctl begin"));
        }
        let path = of.map_or(quote!(Self), |variant| quote!(Self::#variant));
        Ok(Self { path, name: name.clone(), code, text, is_nested, fields })
    }

    /// Matches it, whatever it has.
    pub(super) fn any_pattern(&self) -> TokenStream {
        let path = &self.path;
        quote!(#path { .. })
    }

    /// Matches it and names its fields: `field_0` and so on where they have no names.
    pub(super) fn pattern(&self) -> TokenStream {
        let path = &self.path;
        match &self.fields {
            Fields::Named(fields) => {
                let names = fields.named.iter().map(|field| &field.ident);
                quote!(#path { #(#names),* })
            }
            Fields::Unnamed(fields) => {
                let names = (0..fields.unnamed.len()).map(|at| format_ident!("field_{at}"));
                quote!(#path(#(#names),*))
            }
            Fields::Unit => path.clone(),
        }
    }

    /// Makes it of a variable `text`.
    pub(super) fn of_text(&self, mistakes: &mut Mistakes) -> TokenStream {
        let path = &self.path;
        match &self.fields {
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {}
            _ => mistakes.add_at(&self.name, "a `#[nested]` variant has one field, a `String`"),
        }
        quote!(#path(text.into()))
    }
}
